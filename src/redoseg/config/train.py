"""Every option of a training run, declared once: command line, `run.json` and Python all read `TrainConfig`.

Recipes (the algorithm) and settings (a data set's values) are tables of such options, not branches in code.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro

from redoseg.config.checks import check
from redoseg.config.recipes import RECIPES, SETTINGS
from redoseg.errors import ConfigError

Recipe = Literal["default", "paper", "authors"]
Settings = Literal["none", "lfw", "flowers", "cub", "digits"]
DiffAugment = Literal["off", "colour", "translation", "cutout", "colour-translation", "all"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class TrainConfig:
    """One training run. `TrainConfig.of(...)` lays explicit options over settings over a recipe."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Folders or archives (.tar, .zip) of images, or data sets as their owners distribute them (flowers:DIR,
    lfw:DIR, cub:DIR), whose union is trained on; or the drawn scenes 'digits' or 'digit'."""

    out: Path
    """Folder of the run. If it holds one already, with the same options, that run is continued."""

    recipe: Recipe = "default"
    """The algorithm: 'default' is what measures best here, 'paper' follows the text, 'authors' their code."""

    settings: Settings = "none"
    """The paper's values for a data set: lambda_z, the generators' width, n, size of the code."""

    n: int = 2
    """Regions, background included."""

    size: int = 128
    """Side of the square images in pixels: 32, 64, 128 or 256."""

    batch: int = 25
    """Images in a batch."""

    steps: int = 30_000
    """Updates of the generators; each is followed by one of the discriminator."""

    minutes: float | None = None
    """Stop after so many minutes of training, restarts and earlier sittings included. None: steps decide."""

    seed: int = 0
    """Decides initial weights, batches, regions and codes."""

    labelled: str | None = None
    """SEMI-SUPERVISED: masks ARE read in training. A number K: K images of the split 'train', drawn by
    --seed, are learned with their masks. A folder or archive of a few images with masks/: all those are.
    None: no mask is read in training."""

    labelled_weight: float = 1.0
    """With --labelled, weight of the cross-entropy between masks and labels."""

    width: int | None = None
    """Channels of D and delta at full size. None: half the size, at most 64."""

    g_width: int | None = None
    """Channels of the generators at full size. None: half the size, at most 64."""

    f_width: int = 16
    """Channels of the mask network at full size."""

    f_blocks: int = 3
    """Residual blocks of the mask network."""

    f_pyramid: bool = True
    """Pyramid pooling in the mask network."""

    code_size: int = 32
    """Length of a region's code z."""

    redraw: Literal["one", "each", "all"] = "one"
    """Regions redrawn: 'one' at random in each image (the paper), 'each' in turn, so that every image gives n
    fakes (the authors' code), or 'all' in one image (what the paper rejects)."""

    delta_input: Literal["composed", "generated"] = "composed"
    """What delta reads codes from: the composed image, or the sum of all regions generated."""

    fakes: Literal["new", "same"] = "new"
    """The discriminator's fakes: of new images and codes, or the generators' ones drawn again."""

    attention: bool = False
    """Self-attention in G and D."""

    delta_attention: bool = False
    """Self-attention in delta."""

    g_norm: Literal["instance", "batch"] = "instance"
    """Kind of the conditional normalisation in G."""

    init: Literal["pytorch", "orthogonal", "orthogonal-free"] = "pytorch"
    """Initial weights: the library's; orthogonal everywhere; or orthogonal where no spectral norm is, as
    the authors' code has it in effect."""

    init_gain: float = 0.8
    """Gain of an orthogonal initialisation."""

    centred_start: bool = True
    """Start with every mask near 1 / n."""

    lambda_z: float = 10.0
    """Weight of the code's recovery: lambda_z / (n * code_size) times the squared error."""

    lr: float = 5e-4
    """Adam's learning rate of G, D and delta."""

    lr_f: float = 2e-4
    """Adam's learning rate of the mask network."""

    lr_f_warmup: int = 800
    """Steps over which the mask network's rate grows from 0."""

    weight_decay_f: float = 1e-4
    """Weight decay of the mask network (Adam's, as a part of the gradient)."""

    d_updates: int = 1
    """Updates of D for each of G."""

    ema_half_life: float = 10_000.0
    """Half-life, in images, of the moving average of the mask network's weights. 0: none is kept."""

    min_region: float = 0.0
    """A region smaller than this share of an image is pushed to grow. 0: off."""

    min_region_weight: float = 1.0
    """Weight of that push."""

    mask_noise: float = 0.0
    """Deviation of noise on the masks' logits in training; grows with f's rate. Half-transparent masks then
    show in the redrawn image, so f must decide. 0: off."""

    binarise: float = 0.0
    """Weight of the term that draws masks towards 0 and 1. 0: off."""

    binarise_from: int = 1_000
    """Step from which it grows, over as many steps again, to its full weight."""

    flip: bool = True
    """Mirror training images at random."""

    f_jitter: float = 1.0
    """Strength, 0 to 1, with which light and contrast of what f sees in training change (at 1, half the
    images have light and dark swapped), so that f can't split by brightness. The image that is redrawn stays
    as it is. 0: off."""

    f_jitter_hue: float = 0.0
    """Share of --f-jitter's strength, 0 to 1, with which hue and saturation change, too: where colour tells
    the object, as with flowers, they had better not."""

    f_jitter_fade: int = 0
    """Step at which --f-jitter has faded to 0, linearly from the start. 0: it stays."""

    shift: float = 0.0
    """Largest random shift of the redrawn region, as a share of the side (with --redraw one). 0: off."""

    diffaugment: DiffAugment = "off"
    """What is changed at random in all that D is shown, real or fake: colours, place, a square cut out."""

    r1: float = 0.0
    """Gamma of R1, the penalty on D's gradient at real images. 0: off."""

    r1_every: int = 16
    """Steps between R1's updates; each weighs as much more."""

    resize: Literal["antialias", "nearest"] = "antialias"
    """How photos are brought to size."""

    collapse_below: float = 0.01
    """The run starts again when a region's mean size on a fixed set of images falls below this share."""

    collapse_variation: float = 1e-3
    """It does, too, when masks vary less than this between images (mean deviation of a pixel's mask)."""

    collapse_every: int = 100
    """Steps between these checks."""

    max_restarts: int = 5
    """Restarts after which the run gives up."""

    eval_every: int = 500
    """Steps between checkpoints that are kept, and scores on the split 'val' where masks exist."""

    sample_every: int = 500
    """Steps between pictures of samples."""

    save_every: int = 250
    """Steps between checkpoints to resume from."""

    best_by: Literal["per_dataset", "per_image"] = "per_dataset"
    """The matching whose IoU on 'val' decides which checkpoint is 'best'."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks' inner layers; masks, norms' statistics and losses stay float32."""

    compile: Literal["auto", "on", "off"] = "auto"
    """Compile both updates (minutes at the start, and a C++ compiler on the CPU). 'auto': on CUDA only,
    where Triton is installed; on a CPU it measured no gain."""

    threads: int | None = None
    """CPU threads. None: PyTorch's choice."""

    cache: Path | None = None
    """Folder of the resized images. None: the user's cache folder."""

    mnist: Path | None = None
    """Folder with MNIST's IDX files, from which to draw 'digits' and 'digit'."""

    blur: Box | None = None
    """Box (left, top, right, bottom, as shares of the side) to blur in pictures of photos: faces."""

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, *, recipe: Recipe = "default", settings: Settings = "none", **options: Any) -> Self:
        """The recipe, the data set's settings over it, explicit options over both."""
        if recipe not in RECIPES:
            raise ConfigError(f"no recipe '{recipe}': there are {', '.join(RECIPES)}")
        if settings not in SETTINGS:
            raise ConfigError(f"no settings '{settings}': there are {', '.join(SETTINGS)}")
        known = {field.name for field in dataclasses.fields(cls)}
        for name in options:
            if name not in known:
                raise ConfigError(f"no option '{name}'")
        if isinstance(options.get("data"), str):
            options["data"] = (options["data"],)
        for name in ("out", "cache", "mnist"):
            if isinstance(options.get(name), str):
                options[name] = Path(options[name])
        if options.get("labelled") is not None:
            options["labelled"] = str(options["labelled"])
        table = RECIPES[recipe] | SETTINGS[settings] | options
        return cls(recipe=recipe, settings=settings, **table)

    def resolved(self) -> Self:
        """The same with every width a number: what is saved in `run.json`."""
        half = min(self.size // 2, 64)
        return dataclasses.replace(self, width=self.width or half, g_width=self.g_width or half)

    def as_json(self) -> dict[str, Any]:
        """Every option as JSON knows it; `from_json` reads it back."""
        return {
            name: str(value)
            if isinstance(value, Path)
            else list(value)
            if isinstance(value, tuple)
            else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, options: dict[str, Any]) -> Self:
        paths = {name: Path(options[name]) for name in ("out", "cache", "mnist") if options.get(name)}
        blur = tuple(options["blur"]) if options.get("blur") else None
        return cls(**options | paths | {"data": tuple(options["data"]), "blur": blur})


FREE_TO_CHANGE = frozenset(
    {"data", "labelled", "out", "steps", "minutes", "device", "compile", "threads", "cache"}
)
"""Options that a continued run may be given anew: but for rounding, none changes what a step learns. That the
data and the labelled images are the same, wherever they lie, is seen by their fingerprints."""
