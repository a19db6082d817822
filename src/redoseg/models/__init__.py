"""A trained model, wherever it lies: in a run, a folder, an ONNX file, the package, on a hub."""
