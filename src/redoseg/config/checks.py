"""What options of a training run can't be, each named with what to give instead."""

import math
import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

from redoseg.errors import ConfigError

SIZES = (32, 64, 128, 256)

_AT_LEAST = {
    "n": 2, "batch": 2, "steps": 1, "width": 4, "g_width": 4, "f_width": 4, "f_blocks": 0, "code_size": 1,
    "lr_f_warmup": 0, "f_jitter_fade": 0, "d_updates": 1, "collapse_every": 1, "max_restarts": 0,
    "eval_every": 1, "r1_every": 1, "sample_every": 1, "save_every": 1, "binarise_from": 1,
    "threads": 1, "seed": 0,
}  # fmt: skip
_NOT_NEGATIVE = (
    "lambda_z", "weight_decay_f", "ema_half_life", "min_region", "min_region_weight", "binarise",
    "mask_noise", "r1", "collapse_below", "collapse_variation", "labelled_weight",
)  # fmt: skip
_POSITIVE = ("lr", "lr_f", "init_gain")
_AT_MOST = {"f_jitter": 1.0, "f_jitter_hue": 1.0, "shift": 0.5}


def check(config: Any) -> None:
    """ConfigError for the first option of a `TrainConfig` that can't be, alone or beside the others."""
    if not config.data:
        raise ConfigError("no data: name a folder of images, an archive, 'digits' or 'digit'")
    if config.size not in SIZES:
        raise _refused(config, "size", "use 32, 64, 128 or 256")
    _check_choices(config)
    _check_numbers(config)
    _check_together(config)


def _refused(config: Any, name: str, wanted: str) -> ConfigError:
    return ConfigError(f"--{name.replace('_', '-')} is {getattr(config, name)}: {wanted}")


def _check_choices(config: Any) -> None:
    for name, kind in get_type_hints(type(config)).items():
        if get_origin(kind) is Literal and getattr(config, name) not in get_args(kind):
            raise _refused(config, name, f"choose from {', '.join(get_args(kind))}")


def _check_numbers(config: Any) -> None:
    for name, value in vars(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _refused(config, name, "it must be a finite number")
    for name, least in _AT_LEAST.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise _refused(config, name, f"it must be at least {least}")
    for name in _NOT_NEGATIVE:
        if not getattr(config, name) >= 0:
            raise _refused(config, name, "it can't be negative")
    for name in _POSITIVE:
        if not getattr(config, name) > 0:
            raise _refused(config, name, "it must be positive")
    for name, most in _AT_MOST.items():
        if not 0 <= getattr(config, name) <= most:
            raise _refused(config, name, f"it must be from 0 to {most:g}")


def _check_together(config: Any) -> None:
    """What depends on other options, or is no single number."""
    if config.shift and config.redraw != "one":
        raise ConfigError("--shift needs --redraw one")
    if config.minutes is not None and not config.minutes > 0:
        raise _refused(config, "minutes", "it must be positive")
    if config.labelled is not None and re.fullmatch(r"\s*|[+-].*|0+", config.labelled):
        raise _refused(config, "labelled", "give a number of images, at least 1, or a folder with masks/")
    if config.min_region * config.n > 1:
        raise _refused(config, "min_region", f"{config.n} regions can't all be that large")
    if config.delta_input == "generated" and config.redraw == "one":
        raise ConfigError("--delta-input generated needs --redraw each or all: one region is no whole image")
    if config.blur is not None and not (
        0 <= config.blur[0] < config.blur[2] <= 1 and 0 <= config.blur[1] < config.blur[3] <= 1
    ):
        raise ConfigError("--blur wants left top right bottom as shares of the side, such as .25 .2 .75 .8")
