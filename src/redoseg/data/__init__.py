"""Data sets: opened, brought to one size, drawn from by index. Nothing here imports torch."""
