"""What is measured: the engine, and every other way to serve the same checkpoint, each behind the same questions."""
