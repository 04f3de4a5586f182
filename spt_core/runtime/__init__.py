"""Ways to run a model's files: on the checkpoint (PyTorch) or on an exported graph (ONNX)."""
