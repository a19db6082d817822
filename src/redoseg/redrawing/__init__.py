"""The verb redraw: the paper's Figure 2."""
