"""What can be known of f without a mask."""
