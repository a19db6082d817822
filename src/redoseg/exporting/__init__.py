"""The verb export: a model as an ONNX file, or as a folder with a card for a hub."""

WRITTEN = "--onnx FILE, --hub-folder DIR, --rembg FILE, --tensorboard DIR"
"""What `redoseg export` writes, by its options."""
