"""Texts: as a whole, their words, and pairs of what they mention."""
