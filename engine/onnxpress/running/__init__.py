"""Tokens to logits: plans, batches, and the stages of a cascade."""
