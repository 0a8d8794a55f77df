"""What a classifier's answers look like over many texts, and whether that has changed."""
