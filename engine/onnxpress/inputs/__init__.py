"""Texts, and the tokens that a model reads."""
