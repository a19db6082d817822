"""Recipes (the algorithm), settings (a data set's values) and the demo: tables of options."""

from typing import Any

PAPER: dict[str, Any] = {
    "batch": 25,
    "f_width": 16,
    "f_blocks": 3,
    "f_pyramid": True,
    "code_size": 32,
    "lambda_z": 5.0,
    "weight_decay_f": 1e-4,
    "d_updates": 1,
    "attention": True,
    "width": 64,
    "g_width": 64,
    "redraw": "one",
    "delta_input": "composed",
    "delta_attention": True,
    "g_norm": "batch",
    "fakes": "new",
    "init": "orthogonal",
    "init_gain": 0.8,
    "centred_start": False,
    "lr": 1e-4,
    "lr_f": 1e-5,
    "lr_f_warmup": 0,
    "ema_half_life": 0.0,
    "min_region": 0.0,
    "mask_noise": 0.0,
    "binarise": 0.0,
    "flip": False,
    "f_jitter": 0.0,
    "f_jitter_hue": 0.0,
    "shift": 0.0,
    "diffaugment": "off",
    "r1": 0.0,
    "best_by": "per_image",
}

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": PAPER,
    "authors": PAPER
    | {
        "redraw": "each",
        "delta_input": "generated",
        "delta_attention": False,
        "g_norm": "instance",
        "fakes": "same",
        "init": "orthogonal-free",
        "resize": "nearest",
    },
}
"""The algorithm as options: `paper` and `authors` are the columns of the table in docs/method.md."""

SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "lfw": {"lambda_z": 15.0, "g_width": 64},
    "flowers": {"lambda_z": 5.0, "g_width": 32},
    "cub": {"lambda_z": 5.0, "g_width": 32},
    "digits": {"lambda_z": 5.0, "g_width": 64, "n": 3, "code_size": 16},
}
"""The paper's values for each data set (its supplement)."""

DEMO: dict[str, Any] = {
    "data": ("digit",),
    "size": 32,
    "width": 16,
    "g_width": 16,
    "f_width": 8,
    "f_jitter": 0.0,
    "lr": 1e-3,
    "lr_f": 4e-4,
    "flip": False,
    "steps": 3_000,
    "minutes": 9.0,
    "threads": 1,
}
"""What `redoseg demo` trains: small enough for ten minutes on one CPU core. Its digits are as often dark as
light, so f needs no jitter, and its networks are small enough for twice the usual rates. One thread: a second
gains a tenth here, and where other programs run, threads that wait for one another lose far more. In bfloat16
where the processor has instructions for it."""
