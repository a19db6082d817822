"""The paper's tables and figures, each made by name: runs, numbers, a table, a picture."""
