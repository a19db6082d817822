"""The boxes of Figure 1: f (`mask`), G_k (`generator`), D (`discriminator`), delta (`code_encoder`)."""
