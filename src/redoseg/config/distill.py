"""Every option of `redoseg distill`, declared once: command line, `run.json` and Python all read it."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import tyro

from redoseg.config.train import TrainConfig
from redoseg.errors import ConfigError

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class DistillConfig:
    """One student, trained on the masks of one run. `resolved` fills in what depends on that run."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run whose mask network and generators teach."""

    out: Path
    """Folder of the student's run. If it holds one already, with the same options, that one is continued."""

    checkpoint: str = "last"
    """RUN's checkpoint: last, label-free, best (chosen with masks) or a step (which holds no generators)."""

    weights: Literal["ema", "raw"] | None = None
    """RUN's moving average or its raw weights. None: the average if one is kept."""

    data: tuple[str, ...] = ()
    """Where RUN's data lies now. None: where it lay when RUN was trained."""

    f_width: int | None = None
    """Channels of the student at full size. None: twice RUN's."""

    f_blocks: int = 6
    """Residual blocks of the student."""

    steps: int = 2_000
    """Updates of the student."""

    batch: int = 64
    """Images in a batch."""

    seed: int = 0
    """Decides initial weights, batches, regions, codes and what is changed at random."""

    lr: float = 1e-3
    """Adam's learning rate, constant: the moving average does what a falling rate would."""

    weight_decay: float = 1e-4
    """Weight decay (Adam's, as a part of the gradient)."""

    ema_half_life: float = 10_000.0
    """Half-life, in images, of the moving average of the student's weights. 0: none is kept."""

    confident: float = 0.6
    """A pixel counts if its largest mask is at least this."""

    object_share: tuple[float, float] = (0.02, 0.9)
    """An image counts if what isn't background covers a share of it between these two."""

    synthetic: float | None = None
    """Share of a batch in which RUN's generators have redrawn a region. None: half; without generators, 0."""

    mirrored: bool = True
    """Average RUN's masks of an image and of its mirror image."""

    calibrate: bool = True
    """Let RUN's object end where its outline fits the images best, in place of where its mask is a half."""

    flip: bool = True
    """Mirror training images at random."""

    shift: float = 0.1
    """Largest random shift of what the student sees, as a share of the side. 0: off."""

    jitter: float = 0.3
    """Strength, 0 to 1, with which hue, saturation, contrast and light of what the student sees change (at
    1, half the images have light and dark swapped). 0: off."""

    log_every: int = 100
    """Steps between lines of the log."""

    eval_every: int = 500
    """Steps between checkpoints that are kept, pictures, and scores on the split 'val' where masks exist."""

    save_every: int = 250
    """Steps between checkpoints to resume from."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""

    precision: Precision | None = None
    """Precision of the networks' inner layers; masks, norms' statistics and losses stay float32. None: as
    RUN's."""

    threads: int | None = None
    """CPU threads. None: PyTorch's choice."""

    cache: Path | None = None
    """Folder of the resized images. None: as RUN's."""

    def __post_init__(self) -> None:
        _check(self)

    def resolved(self, teacher: TrainConfig, *, generators: bool) -> Self:
        """The same with everything a value. ConfigError for --synthetic without `generators` to draw."""
        if self.synthetic and not generators:
            raise ConfigError(
                f"--synthetic is {self.synthetic:g}, but {self.run} has no generators at --checkpoint "
                f"{self.checkpoint}: use --synthetic 0, or a trained run with --checkpoint last or best"
            )
        default = 0.5 if generators else 0.0
        return dataclasses.replace(
            self,
            data=self.data or teacher.data,
            f_width=self.f_width or 2 * teacher.f_width,
            synthetic=default if self.synthetic is None else self.synthetic,
            precision=self.precision or teacher.precision,
            cache=self.cache or teacher.cache,
        )

    def described_as(self, teacher: TrainConfig) -> TrainConfig:
        """The student's run in the words that every reader of a run knows: the teacher's options, but for
        what is the student's own. Those of the game (`lambda_z`, `g_width`, ...) it has only inherited.
        To be asked of resolved options.
        """
        assert self.f_width is not None
        assert self.precision is not None
        return dataclasses.replace(
            teacher,
            out=self.out,
            data=self.data,
            f_width=self.f_width,
            f_blocks=self.f_blocks,
            steps=self.steps,
            minutes=None,
            batch=self.batch,
            seed=self.seed,
            lr_f=self.lr,
            lr_f_warmup=0,
            weight_decay_f=self.weight_decay,
            ema_half_life=self.ema_half_life,
            flip=self.flip,
            collapse_every=self.log_every,  # with a line of the log there is a check
            eval_every=self.eval_every,
            sample_every=self.eval_every,
            save_every=self.save_every,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            cache=self.cache,
        )

    def as_json(self) -> dict[str, Any]:
        """Every option as JSON knows it; `from_json` reads it back."""
        options: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        return options

    @classmethod
    def from_json(cls, options: dict[str, Any]) -> Self:
        paths = {name: Path(options[name]) for name in ("run", "out", "cache") if options.get(name)}
        tuples = {name: tuple(options[name]) for name in ("data", "object_share")}
        return cls(**options | paths | tuples)


DISTILL_FREE_TO_CHANGE = frozenset({"run", "out", "data", "steps", "device", "threads", "cache"})
"""Options that a continued student may be given anew; that the teacher is the same is seen by its weights."""


def _check(config: DistillConfig) -> None:
    def refuse(name: str, wanted: str) -> ConfigError:
        return ConfigError(f"--{name.replace('_', '-')} is {getattr(config, name)}: {wanted}")

    for name, choices in (("weights", ("ema", "raw")), ("precision", get_args(Precision))):
        if getattr(config, name) not in (None, *choices):
            raise refuse(name, f"choose from {', '.join(choices)}")
    for name, value in vars(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise refuse(name, "it must be a finite number")
    at_least = {
        "f_width": 4, "f_blocks": 0, "steps": 1, "batch": 2, "seed": 0, "log_every": 1, "eval_every": 1,
        "save_every": 1, "threads": 1, "weight_decay": 0, "ema_half_life": 0,
    }  # fmt: skip
    for name, least in at_least.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise refuse(name, f"it must be at least {least}")
    for name, most in (("synthetic", 1), ("jitter", 1), ("shift", 0.5)):
        if not 0 <= (getattr(config, name) or 0) <= most:
            raise refuse(name, f"it must be from 0 to {most:g}")
    if not config.lr > 0:
        raise refuse("lr", "it must be positive")
    if not 0 <= config.confident < 1:
        raise refuse("confident", "it must be at least 0 and below 1")
    if not 0 <= config.object_share[0] < config.object_share[1] <= 1:
        raise ConfigError("--object-share wants the least and the most as shares of an image, such as .02 .9")
