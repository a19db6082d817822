"""The verb export: a model as an ONNX file, or as a folder with a card for a hub."""
