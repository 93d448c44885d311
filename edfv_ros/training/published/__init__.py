"""The published network: its architecture, the authors' checkpoints, and the way to ONNX."""
