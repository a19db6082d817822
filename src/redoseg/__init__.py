"""Learn to segment the object in a collection of images without a single annotated mask."""
