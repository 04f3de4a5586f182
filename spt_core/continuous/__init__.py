"""Continuous training: from a publication to a model in production, with nothing lost."""
