"""From any rows to checked, typed, leak-guarded splits: source -> Corpus -> Splits."""
