"""The verb distill: a student of a run's own masks."""
