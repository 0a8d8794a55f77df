"""One classifier, many callers: batches are formed from what waits while a run is in flight."""
