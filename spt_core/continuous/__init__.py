"""Continuous training: a regulator's publications in, models that know them out."""
