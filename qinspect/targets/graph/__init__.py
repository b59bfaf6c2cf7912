"""What the ONNX targets are made of: messages of the format, weights as nodes, graphs, and running them."""
