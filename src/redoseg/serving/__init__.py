"""The verb serve: a page and an API around one loaded model."""
