"""Every option of `redoseg distill`, declared once: command line, `run.json` and Python all read it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro

from redoseg.config.checks import Config
from redoseg.config.markers import MAY_CHANGE, POSITIVE, Bound, Group, at_least, from_0_to
from redoseg.config.train import SIZE, SQUARES, Compile, Precision, TrainConfig
from redoseg.errors import ConfigError

FIRST_LABELS, FIRST_PREFIX = ("disc", "boxes", "clusters", "saliency", "iem"), "first:"
"""First labels by name; with the prefix they stand where a run would (`distillation.first_labels`)."""
CONFIDENT = Bound("it must be at least 0 and below 1", lambda value: 0 <= value < 1)


@dataclass(frozen=True)
class DistillConfig(Config):
    """One student, trained on the masks of one run. `resolved` fills in what depends on that run."""

    run: Annotated[Path, tyro.conf.Positional, MAY_CHANGE]
    """The run whose mask network teaches; or, with --data, a model's folder or name; or, without any network,
    first labels: first:disc, first:boxes, first:clusters, first:saliency or first:iem."""
    out: Annotated[Path, MAY_CHANGE]
    """Folder of the student's run. If it holds one already, with the same options, that one is continued."""

    checkpoint: str = "last"
    """RUN's checkpoint: last, label-free, best (chosen with masks) or a step (which holds no generators)."""
    weights: Annotated[Literal["ema", "raw"] | None, Group.TEACHER] = None
    """RUN's moving average or its raw weights. None: the average if one is kept."""
    data: Annotated[tuple[str, ...], MAY_CHANGE] = ()
    """Where RUN's data lies now. Not given: where it lay when RUN was trained. For a model, any photos."""

    images: Annotated[int | None, at_least(2), Group.DATA] = None
    """Learn from so many of the images, evenly spaced. None: from all."""

    targets: Literal["refined", "network"] = "refined"
    """What the student learns: RUN's masks refined along the outlines of each image, or as they are."""
    size: Annotated[int | None, SIZE] = None
    """Side of the images that the student sees, 32, 64, 128 or 256, at least RUN's. None: RUN's, for refined
    targets at least 64."""
    f_width: Annotated[int | None, at_least(4)] = None
    """Channels of the student at full size. None: RUN's, for --targets network twice RUN's."""
    f_blocks: Annotated[int, at_least(0)] = 6
    """Number of residual blocks of the student."""

    steps: Annotated[int, at_least(1), MAY_CHANGE] = 2_000
    """Updates of the student."""
    minutes: Annotated[float | None, POSITIVE, MAY_CHANGE] = None
    """Stop after so many minutes of training, restarts and earlier sittings included. None: steps decide."""
    batch: Annotated[int, at_least(2)] = 64
    """Number of images in a batch."""

    seed: Annotated[int, at_least(0)] = 0
    """Decides the initial weights, the batches, the regions redrawn, the codes and all random changes."""

    lr: Annotated[float, POSITIVE, Group.LOSSES] = 1e-3
    """Adam's learning rate. It stays constant: the moving average does what a falling rate would."""
    weight_decay: Annotated[float, at_least(0), Group.LOSSES] = 1e-4
    """Weight decay, added to the gradient (Adam, not AdamW)."""
    ema_half_life: Annotated[float, at_least(0), Group.LOSSES] = 10_000.0
    """Half-life, in images, of the moving average of the student's weights. 0: none is kept."""

    confident: Annotated[float, CONFIDENT, Group.TEACHER] = 0.6
    """A pixel counts if the largest of its masks is at least this, from 0 to below 1."""
    object_share: Annotated[tuple[float, float], Group.TEACHER] = (0.02, 0.9)
    """An image counts if the regions that aren't background cover a share of it between these two."""
    doubtful: Annotated[float, CONFIDENT, Group.TEACHER] = 0.2
    """Share of the images, from 0 to below 1, that are left out because their refined masks are the most
    doubtful."""
    corrected: Annotated[Path | None, Group.TEACHER, MAY_CHANGE] = None
    """SEMI-SUPERVISED: a folder or an archive of some of the photos with masks/ that are right. These masks
    ARE read: they replace RUN's and count fully. `redoseg fix` makes such a folder. None: no mask is read."""
    corrected_share: Annotated[float, CONFIDENT, Group.TEACHER] = 0.25
    """Share of the images that are learned from, from 0 to below 1, that the corrected ones make up at least:
    they are seen as often as that takes."""
    ticks: Annotated[Path | None, Group.TEACHER, MAY_CHANGE] = None
    """A list that the page of `redoseg report` has saved: photos whose masks are ticked as wrong are left
    out, if they aren't corrected; those ticked as right are kept, however doubtful."""
    synthetic: Annotated[float | None, from_0_to(1), Group.TEACHER] = None
    """Share of a batch, 0 to 1, in which RUN's generators have redrawn a region. None: half; without
    generators, for refined targets and at another size, 0."""
    mirrored: Annotated[bool, Group.TEACHER] = True
    """Learn the average of RUN's masks of an image and of its mirror image."""
    calibrate: Annotated[bool, Group.TEACHER] = True
    """Let RUN's object end where its outline fits the images best, in place of where its mask is a half."""

    squares: Annotated[int, SQUARES, Group.DATA] = 1
    """Squares of each photo to learn from, 1, 3 or 5: the centred one, or so many along its long side, from
    end to end. Photos that are nearly square have one."""
    flip: Annotated[bool, Group.DATA] = True
    """Mirror training images at random."""
    shift: Annotated[float, from_0_to(0.5), Group.SEEN] = 0.1
    """Largest random shift of what the student sees, 0 to 0.5, as a share of the side. 0: off."""
    jitter: Annotated[float, from_0_to(1), Group.SEEN] = 0.3
    """Strength, 0 to 1, of random changes of hue, saturation, contrast and light in what the student sees
    (at 1, half of the images have light and dark swapped). 0: off."""

    log_every: Annotated[int, at_least(1), Group.CHECKPOINTS] = 100
    """Steps between lines of the log."""
    eval_every: Annotated[int, at_least(1), Group.CHECKPOINTS] = 500
    """Steps between checkpoints that are kept, pictures, and scores on the split 'val' where it has masks."""
    save_every: Annotated[int, at_least(1), Group.CHECKPOINTS] = 250
    """Steps between saves of the whole state, from which a stopped run goes on."""

    device: Annotated[str, Group.MACHINE, MAY_CHANGE] = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    precision: Annotated[Precision | None, Group.MACHINE] = None
    """Precision of the networks' inner layers; masks, norms' statistics and losses stay float32. None: as
    RUN's, or float32 on a processor without instructions for bfloat16."""
    compile: Annotated[Compile, Group.MACHINE, MAY_CHANGE] = "auto"
    """'graphs': record each update's kernels once and replay them (CUDA, one process). 'on': compile the
    updates, which takes minutes at the start and, on a CPU, a C++ compiler. 'auto': graphs on CUDA (with
    several processes 'on', if Triton is installed), else 'off': on a CPU compiling measured no gain."""
    threads: Annotated[int | None, at_least(1), Group.MACHINE, MAY_CHANGE] = None
    """Number of CPU threads. None: PyTorch's choice."""

    cache: Annotated[Path | None, Group.DATA, MAY_CHANGE] = None
    """Folder in which the resized images are kept. None: as RUN's."""
    mnist: Annotated[Path | None, Group.DATA] = None
    """Folder with MNIST's IDX files, for a student of 'digits' or 'digit'. None: as RUN's."""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """As `Config.from_json`. What says nothing of targets is of a version without refined ones."""
        return super().from_json({"targets": "network"} | content)

    def _check_together(self) -> None:
        if self.targets != "refined" and (self.corrected is not None or self.ticks is not None):
            raise ConfigError("--corrected and --ticks need --targets refined")
        if not 0 <= self.object_share[0] < self.object_share[1] <= 1:
            raise ConfigError(
                "--object-share wants the least and the most as shares of an image, such as .02 .9"
            )

    def resolved(self, teacher: TrainConfig, *, generators: bool) -> Self:
        """The same with everything a value. ConfigError for --synthetic without `generators` to draw at the
        student's size, or with refined targets, and for a size below the teacher's."""
        refined = self.targets == "refined"
        size = self.size or (max(64, teacher.size) if refined else teacher.size)
        if size < teacher.size:
            raise ConfigError(f"--size is {size}, but {self.run} was trained at {teacher.size}: no less")
        if self.synthetic and (refined or size != teacher.size):
            reason = (
                "redrawn images have no refined masks" if refined else f"they are drawn at {teacher.size} px"
            )
            raise ConfigError(f"--synthetic is {self.synthetic:g}, but {reason}: use --synthetic 0")
        generators = generators and not refined and size == teacher.size
        if self.synthetic and not generators:
            raise ConfigError(
                f"--synthetic is {self.synthetic:g}, but {self.run} has no generators at --checkpoint "
                f"{self.checkpoint}: use --synthetic 0, or a trained run with --checkpoint last or best"
            )
        default = 0.5 if generators else 0.0
        return dataclasses.replace(
            self,
            data=self.data or teacher.data,
            size=size,
            f_width=self.f_width or (1 if refined else 2) * teacher.f_width,
            synthetic=default if self.synthetic is None else self.synthetic,
            precision=self.precision or teacher.precision,
            cache=self.cache or teacher.cache,
            mnist=self.mnist or teacher.mnist,
        )

    def described_as(self, teacher: TrainConfig) -> TrainConfig:
        """The student's run in the options that every reader of a run knows. To be asked of resolved options.
        Of these only `student_options` say something of the student; the others have their defaults."""
        own = {name: getattr(self, name) for name in _SAME}
        own |= {name: getattr(self, mine) for name, mine in _RENAMED.items()}
        inherited = {name: getattr(teacher, name) for name in _INHERITED}
        return TrainConfig(**own | inherited | _FIXED)


_SAME = (
    "data", "out", "size", "batch", "steps", "minutes", "seed", "f_width", "f_blocks", "ema_half_life",
    "flip", "squares", "eval_every", "save_every", "device", "precision", "compile", "threads", "cache",
    "mnist",
)  # fmt: skip
"""Options that mean the same of a student as of a run of `redoseg train`. `lr` and `shift` don't."""

_RENAMED = {
    "lr_f": "lr", "weight_decay_f": "weight_decay",
    "sample_every": "eval_every", "collapse_every": "log_every",
}  # fmt: skip
"""What a run of `redoseg train` calls it, and what a student does."""

_INHERITED = (
    "n", "f_pyramid", "resize", "best_by", "blur", "collapse_below", "collapse_variation",
    "collapse_border",
)  # fmt: skip
"""Options in which a student is as its teacher: to learn its masks it needs the same regions and images."""

_FIXED = {"lr_f_warmup": 0}


def student_options(options: dict[str, Any]) -> dict[str, Any]:
    """Of a student's run, described in the options (JSON) of `TrainConfig`, those that are its own.

    The others tell how generators and discriminator play, which a student has not done: where they were
    stated, they were its teacher's. `TrainConfig.from_json` takes the result.
    """
    return {name: options[name] for name in options if name in {*_SAME, *_RENAMED, *_INHERITED, *_FIXED}}
