"""The pictures in a run's samples/: the paper's Figure 2, always of the same few images and codes."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from redoseg.config import TrainConfig
from redoseg.data.dataset import Split
from redoseg.data.sampler import evenly_spaced
from redoseg.figures.tiles import sample_grid
from redoseg.files import write_aside
from redoseg.networks.mask import MaskNetwork
from redoseg.redrawing.redraw import redraw_grid, sample_codes
from redoseg.tensors import to_tensor

ROWS, CODES = 8, 4


class SamplePicture:
    """f and the generators at work on labelled images, with their masks, or without any on trained ones."""

    def __init__(self, config: TrainConfig, scored: Split | None, trained: Split) -> None:
        self.blur, self.labelled = config.blur, scored is not None
        self.split = trained if scored is None else scored
        candidates = np.arange(len(trained)) if scored is None else scored.labelled
        self.chosen = candidates[evenly_spaced(len(candidates), ROWS)]
        self.codes = sample_codes(config.n, CODES, config.code_size, seed=0)

    def write(self, file: Path, f: MaskNetwork, generators: nn.Module | None) -> None:
        """Write a PNG of the masks, and of redrawn regions if there are generators."""
        G = generators if isinstance(generators, nn.ModuleList) else None
        truth = torch.from_numpy(self.split.labels(self.chosen)) if self.labelled else None
        images = to_tensor(self.split.images(self.chosen), f.order.device)
        picture = sample_grid(redraw_grid(f, G, images, self.codes, truth), blur=self.blur)
        write_aside(file, lambda aside: picture.save(aside, "PNG"))
