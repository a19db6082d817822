"""The arms of the study: each is a recipe and what is changed in it; `paper` and `default` are to be beaten.

One change at a time, so that a difference has one reason; what wins alone is combined afterwards.
"""

from typing import Any

SMALL: dict[str, Any] = {"size": 32, "width": 16, "g_width": 16, "f_width": 8, "precision": "bfloat16"}
"""What a CPU core can train 2,500 steps of in a quarter of an hour. Laid over every arm."""

ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"recipe": "paper"},
    "authors": {"recipe": "authors"},
    # what D and delta are given
    "redraw-each": {"redraw": "each"},
    "redraw-all": {"redraw": "all"},
    "delta-generated": {"redraw": "each", "delta_input": "generated"},
    "no-attention": {"attention": False},
    "fakes-same": {"fakes": "same"},
    # the start
    "orthogonal": {"init": "orthogonal"},
    "orthogonal-free": {"init": "orthogonal-free"},
    "not-centred": {"centred_start": False},
    # the rates
    "paper-rates": {"lr": 1e-4, "lr_f": 1e-5, "lr_f_warmup": 0},
    "no-warm-up": {"lr_f_warmup": 0},
    "lr-f-1e-4": {"lr_f": 1e-4},
    "lr-f-5e-5": {"lr_f": 5e-5},
    # the losses
    "lambda-0": {"lambda_z": 0.0},
    "lambda-2": {"lambda_z": 2.0},
    "lambda-10": {"lambda_z": 10.0},
    "lambda-15": {"lambda_z": 15.0},
    "min-region": {"min_region": 0.1},
    "binarise": {"binarise": 1.0, "binarise_from": 1000},
    "mask-noise": {"mask_noise": 1.0},
    # the rest
    "flip": {"flip": True},
    "batch-norm": {"g_norm": "batch"},
    "batch-50": {"batch": 50},
    "g-wide": {"g_width": 32},
    "g-narrow": {"g_width": 8},
    "f-16": {"f_width": 16},
    "f-32": {"f_width": 32},
    "d-2": {"d_updates": 2},
    # together
    "no-attention-lambda-10": {"attention": False, "lambda_z": 10.0},
    "no-attention-f-16": {"attention": False, "f_width": 16},
    "no-attention-f-32": {"attention": False, "f_width": 32},
}
