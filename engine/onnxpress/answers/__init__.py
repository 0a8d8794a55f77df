"""What logits say, and when two answers are the same."""
