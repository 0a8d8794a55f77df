"""Heads in files beside the model's own: sentence-transformers' modules, and SetFit's classifiers on top of them."""
