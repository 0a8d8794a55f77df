"""A graph in ONNX Runtime, from its opening to its end."""
