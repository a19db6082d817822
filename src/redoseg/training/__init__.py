"""The verb train: one loop, and what learns in it."""
