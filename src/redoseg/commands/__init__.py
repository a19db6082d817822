"""The command's actions. What needs torch is imported when one runs, so that help is instant."""
