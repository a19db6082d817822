"""The only package that reads masks to score with them."""
