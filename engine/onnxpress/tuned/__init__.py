"""What `onnxpress tune` keeps beside an artifact."""
