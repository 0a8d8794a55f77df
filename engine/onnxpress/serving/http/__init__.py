"""Artifacts over HTTP, with the routes of text-embeddings-inference."""
