"""Results to look at: one self-contained page, no network."""
