"""The library: corpora in, trained, compressed, checked and registered specialized models out."""
