"""What comes in and what computes: a folder for each family, with the same file names in each."""
