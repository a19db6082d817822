"""Mask networks as functions of arrays: with PyTorch, or with ONNX Runtime and without PyTorch."""
