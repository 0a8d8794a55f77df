"""Files of examples, with labels or without."""
