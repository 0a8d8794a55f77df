"""A running server, held against an artifact: ours, text-embeddings-inference's or vLLM's."""
