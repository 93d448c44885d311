"""Our network: its examples, its training, its way to ONNX."""
