"""The verb segment: photos in, masks out. Torch-free."""
