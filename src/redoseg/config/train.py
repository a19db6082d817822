"""Every option of a training run, declared once: command line, `run.json` and Python all read `TrainConfig`.

A field carries its default, its help text and, as markers, its bounds, its group in --help and whether a
continued run may change it. Recipes (the algorithm) and settings (a data set's values) are tables of such
options, not branches in code.
"""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro

from redoseg.config.checks import Config, options
from redoseg.config.markers import MAY_CHANGE, NOT_NEGATIVE, POSITIVE, Bound, Group, at_least, from_0_to
from redoseg.config.recipes import RECIPES, SETTINGS
from redoseg.errors import ConfigError

Recipe = Literal["default", "paper", "authors"]
Settings = Literal["none", "lfw", "flowers", "cub", "digits"]
DiffAugment = Literal["off", "colour", "translation", "cutout", "colour-translation", "all"]
Precision = Literal["float32", "bfloat16"]
Compile = Literal["auto", "graphs", "on", "off"]
Box = tuple[float, float, float, float]

SIZE = Bound("use 32, 64, 128 or 256", (32, 64, 128, 256).__contains__)
SQUARES = Bound("use 1, 3 or 5", (1, 3, 5).__contains__)
LABELLED = Bound(
    "give a number of images, at least 1, or a folder with masks/",
    lambda text: not re.fullmatch(r"\s*|[+-].*|0+", text),
)


@dataclass(frozen=True)
class TrainConfig(Config):
    """One training run. `TrainConfig.of(...)` lays explicit options over settings over a recipe."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional, MAY_CHANGE]
    """Folders or archives (.tar, .zip) of images, or data sets as their owners distribute them (flowers:DIR,
    lfw:DIR, cub:DIR), whose union is trained on; or the drawn scenes 'digits' or 'digit'."""
    out: Annotated[Path, MAY_CHANGE]
    """Folder of the run. If it holds one already, with the same options, that run is continued."""

    recipe: Recipe = "default"
    """The algorithm: 'default' is what measures best here, 'paper' follows the text, 'authors' their code."""
    settings: Settings = "none"
    """The paper's values for a data set: lambda_z, the generators' width, n and the size of the code."""

    n: Annotated[int, at_least(2)] = 2
    """Number of regions, the background included."""
    size: Annotated[int, SIZE] = 128
    """Side of the square images in pixels: 32, 64, 128 or 256."""
    batch: Annotated[int, at_least(2)] = 25
    """Number of images in a batch."""
    steps: Annotated[int, at_least(1), MAY_CHANGE] = 30_000
    """Updates of the generators; each is followed by one of the discriminator."""
    minutes: Annotated[float | None, POSITIVE, MAY_CHANGE] = None
    """Stop after so many minutes of training, restarts and earlier sittings included. None: steps decide."""
    seed: Annotated[int, at_least(0)] = 0
    """Decides the initial weights, the batches, the regions redrawn and the codes."""

    labelled: Annotated[str | None, LABELLED, MAY_CHANGE] = None
    """SEMI-SUPERVISED: masks ARE read in training. A number K: K images of the split 'train', drawn by
    --seed, are learned with their masks. A folder or archive of a few images with masks/: all of them are.
    None: no mask is read in training."""
    labelled_weight: Annotated[float, NOT_NEGATIVE, Group.LOSSES] = 1.0
    """With --labelled, the weight of the cross-entropy between masks and labels."""

    width: Annotated[int | None, at_least(4), Group.NETWORKS] = None
    """Channels of the discriminator D and the code encoder delta at full size. None: half of --size, at most
    64."""
    g_width: Annotated[int | None, at_least(4), Group.NETWORKS] = None
    """Channels of the generators at full size. None: half of --size, at most 64."""
    f_width: Annotated[int, at_least(4), Group.NETWORKS] = 16
    """Channels of the mask network f at full size."""
    f_blocks: Annotated[int, at_least(0), Group.NETWORKS] = 3
    """Number of residual blocks of the mask network."""
    f_pyramid: Annotated[bool, Group.NETWORKS] = True
    """Use pyramid pooling in the mask network."""
    code_size: Annotated[int, at_least(1), Group.NETWORKS] = 32
    """Length of the code z from which a region is drawn."""

    redraw: Annotated[Literal["one", "each", "all"], Group.GAME] = "one"
    """Which regions are redrawn: 'one' at random in each image (the paper), 'each' in turn, so that every
    image gives n fakes (the authors' code), or 'all' in one image (what the paper rejects)."""
    delta_input: Annotated[Literal["composed", "generated"], Group.GAME] = "composed"
    """What delta reads the codes from: the 'composed' image, or the sum of all regions as 'generated'."""
    fakes: Annotated[Literal["new", "same"], Group.GAME] = "new"
    """What the discriminator is trained on as fakes: 'new' ones, of other images and codes than the
    generators' step, or the 'same' images and codes, drawn again."""

    attention: Annotated[bool, Group.NETWORKS] = False
    """Use self-attention in the generators and the discriminator."""
    delta_attention: Annotated[bool, Group.NETWORKS] = False
    """Use self-attention in delta."""
    g_norm: Annotated[Literal["instance", "batch"], Group.NETWORKS] = "instance"
    """Kind of the conditional normalisation in the generators."""
    init: Annotated[Literal["pytorch", "orthogonal", "orthogonal-free"], Group.NETWORKS] = "pytorch"
    """Initial weights: PyTorch's own, 'orthogonal' everywhere, or 'orthogonal-free': orthogonal in layers
    without spectral norm only, which is what the authors' code amounts to."""
    init_gain: Annotated[float, POSITIVE, Group.NETWORKS] = 0.8
    """Gain of an orthogonal initialisation."""
    centred_start: Annotated[bool, Group.NETWORKS] = True
    """Start with every mask near 1 / n at every pixel."""

    lambda_z: Annotated[float, NOT_NEGATIVE, Group.LOSSES] = 10.0
    """Weight of the recovery of the code: its squared error counts lambda_z / (n * code_size) times."""
    lr: Annotated[float, POSITIVE, Group.LOSSES] = 5e-4
    """Adam's learning rate of the generators, the discriminator and delta."""
    lr_f: Annotated[float, POSITIVE, Group.LOSSES] = 2e-4
    """Adam's learning rate of the mask network."""
    lr_f_warmup: Annotated[int, at_least(0), Group.LOSSES] = 800
    """Steps over which the mask network's learning rate grows from 0 to --lr-f."""
    f_frozen: Annotated[int, at_least(0), Group.LOSSES] = 0
    """Steps at the beginning in which f stays as it is, while G, D and delta learn to redraw its regions.
    Then --lr-f-warmup begins. For a run with --start."""
    weight_decay_f: Annotated[float, NOT_NEGATIVE, Group.LOSSES] = 1e-4
    """Weight decay of the mask network, added to the gradient (Adam, not AdamW)."""
    d_updates: Annotated[int, at_least(1), Group.GAME] = 1
    """Updates of the discriminator for each one of the generators."""
    ema_half_life: Annotated[float, NOT_NEGATIVE, Group.LOSSES] = 10_000.0
    """Half-life, in images, of the moving average of the mask network's weights. 0: none is kept."""

    min_region: Annotated[float, NOT_NEGATIVE, Group.LOSSES] = 0.0
    """A region that covers less than this share of an image, 0 to 1 / n, is pushed to grow. 0: off."""
    min_region_weight: Annotated[float, NOT_NEGATIVE, Group.LOSSES] = 1.0
    """Weight of the term by which --min-region pushes."""

    mask_noise: Annotated[float, NOT_NEGATIVE, Group.GAME] = 0.0
    """Standard deviation of noise on the masks' logits in training; it grows along with f's learning rate.
    Half-transparent masks then show in the redrawn image, so f has to decide. 0: off."""
    binarise: Annotated[float, NOT_NEGATIVE, Group.LOSSES] = 0.0
    """Weight of the term that draws masks towards 0 and 1. 0: off."""
    binarise_from: Annotated[int, at_least(1), Group.LOSSES] = 1_000
    """Step from which the weight of --binarise grows from 0; it is full after as many steps again."""

    flip: Annotated[bool, Group.DATA] = True
    """Mirror training images at random."""
    f_jitter: Annotated[float, from_0_to(1), Group.SEEN] = 1.0
    """Strength, 0 to 1, of random changes of light and contrast in what f sees in training, so that f can't
    split images by brightness (at 1, half of the images have light and dark swapped). The image that is
    redrawn stays as it is. 0: off."""
    f_jitter_hue: Annotated[float, from_0_to(1), Group.SEEN] = 0.0
    """Share, 0 to 1, of --f-jitter's strength with which hue and saturation change, too. Better left at 0
    where colour tells the object, as with flowers."""
    f_jitter_fade: Annotated[int, at_least(0), Group.SEEN] = 0
    """Step at which --f-jitter has faded to 0, linearly from the start. 0: it doesn't fade."""

    start: Annotated[str | None, Group.GAME] = None
    """A warm start: f begins as the mask network of this run or model (a folder or a name), whose --n,
    --size, --f-width and --f-blocks this run has to have. None: it begins with random weights."""

    shift: Annotated[float, from_0_to(0.5), Group.GAME] = 0.0
    """Largest random shift of the redrawn region, 0 to 0.5, as a share of the side (with --redraw one). 0:
    off."""
    diffaugment: Annotated[DiffAugment, Group.GAME] = "off"
    """What is changed at random in all images that the discriminator is shown, real or fake: their colours,
    their place (translation), or a square cut out (cutout)."""

    r1: Annotated[float, NOT_NEGATIVE, Group.LOSSES] = 0.0
    """Gamma of R1, the penalty on the discriminator's gradient at real images. 0: off."""
    r1_every: Annotated[int, at_least(1), Group.LOSSES] = 16
    """R1 is computed every so many steps, and then weighs so many times as much."""

    resize: Annotated[Literal["antialias", "nearest"], Group.DATA] = "antialias"
    """How photos are brought to --size."""
    squares: Annotated[int, SQUARES, Group.DATA] = 1
    """Squares of each photo to learn from, 1, 3 or 5: the centred one, or so many along its long side, from
    end to end. Photos that are nearly square have one."""

    collapse_below: Annotated[float, NOT_NEGATIVE, Group.GAME] = 0.01
    """The run starts again if a region covers less than this share, on average over a fixed set of images."""
    collapse_variation: Annotated[float, NOT_NEGATIVE, Group.GAME] = 1e-3
    """The run starts again, too, if masks hardly differ between images: if a pixel's mask deviates by less
    than this from image to image, on average over pixels."""
    collapse_border: Annotated[float, NOT_NEGATIVE, Group.GAME] = 0.8
    """The run starts again, too, if the object covers more than this share of the images' outermost pixels,
    as it does where it has become the whole picture; from step 250 on. 1: it may."""
    collapse_every: Annotated[int, at_least(1), Group.GAME] = 100
    """Steps between these three checks."""
    max_restarts: Annotated[int, at_least(0), Group.GAME] = 5
    """Number of restarts after which the run gives up."""

    eval_every: Annotated[int, at_least(1), Group.CHECKPOINTS] = 500
    """Steps between checkpoints that are kept, and between scores on the split 'val' where it has masks."""
    sample_every: Annotated[int, at_least(1), Group.CHECKPOINTS] = 500
    """Steps between pictures of samples."""
    save_every: Annotated[int, at_least(1), Group.CHECKPOINTS] = 250
    """Steps between saves of the whole state, from which a stopped run goes on."""
    best_by: Annotated[Literal["per_dataset", "per_image"], Group.CHECKPOINTS] = "per_dataset"
    """How regions are matched with labels for the IoU on 'val' that decides which checkpoint is 'best'."""

    device: Annotated[str, Group.MACHINE, MAY_CHANGE] = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    precision: Annotated[Precision, Group.MACHINE] = "float32"
    """Precision of the networks' inner layers; masks, norms' statistics and losses stay float32."""
    compile: Annotated[Compile, Group.MACHINE, MAY_CHANGE] = "auto"
    """'graphs': record each update's kernels once and replay them (CUDA, one process). 'on': compile the
    updates, which takes minutes at the start and, on a CPU, a C++ compiler. 'auto': graphs on CUDA (with
    several processes 'on', if Triton is installed), else 'off': on a CPU compiling measured no gain."""
    threads: Annotated[int | None, at_least(1), Group.MACHINE, MAY_CHANGE] = None
    """Number of CPU threads. None: PyTorch's choice."""

    cache: Annotated[Path | None, Group.DATA, MAY_CHANGE] = None
    """Folder in which the resized images are kept. None: the user's cache folder."""
    mnist: Annotated[Path | None, Group.DATA] = None
    """Folder with MNIST's IDX files, from which to draw 'digits' and 'digit'."""
    blur: Annotated[Box | None, Group.CHECKPOINTS] = None
    """Box to blur in pictures of photos, to hide faces: left, top, right and bottom as shares of the side."""

    def _check_together(self) -> None:
        if not self.data:
            raise ConfigError("no data: name a folder of images, an archive, 'digits' or 'digit'")
        if self.shift and self.redraw != "one":
            raise ConfigError("--shift needs --redraw one")
        if self.min_region * self.n > 1:
            raise self._refused("min_region", f"{self.n} regions can't all be that large")
        if self.delta_input == "generated" and self.redraw == "one":
            raise ConfigError(
                "--delta-input generated needs --redraw each or all: one region is no whole image"
            )
        if self.blur is not None and not (
            0 <= self.blur[0] < self.blur[2] <= 1 and 0 <= self.blur[1] < self.blur[3] <= 1
        ):
            raise ConfigError(
                "--blur wants left top right bottom as shares of the side, such as .25 .2 .75 .8"
            )

    @classmethod
    def of(cls, *, recipe: Recipe = "default", settings: Settings = "none", **given: Any) -> Self:
        """The recipe, the data set's settings over it, options `given` over both."""
        if recipe not in RECIPES:
            raise ConfigError(f"no recipe '{recipe}': there are {', '.join(RECIPES)}")
        if settings not in SETTINGS:
            raise ConfigError(f"no settings '{settings}': there are {', '.join(SETTINGS)}")
        known = options(cls)
        for name in given:
            if name not in known:
                raise ConfigError(f"no option '{name}'")
        if isinstance(given.get("data"), str):
            given["data"] = (given["data"],)
        if given.get("labelled") is not None:
            given["labelled"] = str(given["labelled"])
        table = {"recipe": recipe, "settings": settings} | RECIPES[recipe] | SETTINGS[settings] | given
        return cls.from_json(table)

    def resolved(self) -> Self:
        """The same with every width a number: what is saved in `run.json`."""
        half = min(self.size // 2, 64)
        return dataclasses.replace(self, width=self.width or half, g_width=self.g_width or half)
