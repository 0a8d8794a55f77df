"""Which words of a text speak for its answer, and which against it."""
