"""What runs a network: PyTorch, ONNX Runtime or OpenVINO, behind one interface."""
