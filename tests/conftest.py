"""Settings that hold for every test."""

import torch

# Networks here are tiny: threads would wait for one another longer than they work.
torch.set_num_threads(1)
