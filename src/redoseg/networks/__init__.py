"""The boxes of the paper's Figure 1: f (`mask`), G_k (`region`), D and delta (`critic`)."""
