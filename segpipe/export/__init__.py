"""The model folder: a MONAI bundle with weights, an ONNX model and everything a scan's prediction needs."""
