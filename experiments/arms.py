"""The arms of the study: each is a recipe and what is changed in it.

Three ladders: from the paper's recipe up, one change at a time; from the combination down, one part taken out
or put in; and the combination itself, with its neighbours.
"""

from typing import Any

Options = dict[str, Any]

SMALL: Options = {"size": 32, "width": 16, "g_width": 16, "precision": "bfloat16"}
"""What a CPU core can train 1,500 steps of in six minutes. Laid over every arm."""

FAST: Options = {"lr": 5e-4, "lr_f": 2e-4, "lr_f_warmup": 800}

TOGETHER: Options = {
    "recipe": "default", "attention": False, "lambda_z": 10.0, "f_jitter": 1.0, "f_jitter_hue": 1.0,
    "f_width": 16, "flip": False,
    "init": "pytorch", "centred_start": True, "g_norm": "instance", "redraw": "one", **FAST,
}  # fmt: skip
"""The combination, spelt out: what the recipe `default` becomes later doesn't change what an arm was."""

LIGHT: Options = {"f_jitter_hue": 0.0, "flip": True}
"""The jitter that `default` has now."""

ARMS: dict[str, Options] = {
    "paper": {"recipe": "paper"},
    "authors": {"recipe": "authors"},
    # one change of the paper's recipe
    "paper-fast": {"recipe": "paper", **FAST},
    "paper-fast-init": {"recipe": "paper", **FAST, "init": "pytorch"},
    # the combination
    "jitter": TOGETHER,
    "jitter-f8": TOGETHER | {"f_width": 8},
    "jitter-flip": TOGETHER | {"flip": True},
    "jitter-f8-flip": TOGETHER | {"f_width": 8, "flip": True},
    "jitter-flip-guard": TOGETHER | {"flip": True, "min_region": 0.05, "min_region_weight": 10.0},
    "jitter-fades": TOGETHER | {"f_jitter_fade": 2500},
    "light-flip": TOGETHER | LIGHT,
    "light-f8-flip": TOGETHER | LIGHT | {"f_width": 8},
    "light-paper-rates": TOGETHER | LIGHT | {"lr": 1e-4, "lr_f": 1e-5, "lr_f_warmup": 0},
    "light-orthogonal": TOGETHER | LIGHT | {"init": "orthogonal"},
    "light-attention": TOGETHER | LIGHT | {"attention": True},
    "jitter-half-flip": TOGETHER | {"f_jitter": 0.5, "flip": True},
    # one part taken out
    "no-jitter": TOGETHER | {"f_jitter": 0.0},
    "no-jitter-flip": TOGETHER | {"f_jitter": 0.0, "flip": True},
    "no-jitter-f8": TOGETHER | {"f_jitter": 0.0, "f_width": 8},
    "no-jitter-lambda-5": TOGETHER | {"f_jitter": 0.0, "lambda_z": 5.0},
    "no-jitter-f8-lambda-5": TOGETHER | {"f_jitter": 0.0, "f_width": 8, "lambda_z": 5.0},
    "no-jitter-f32-lambda-5": TOGETHER
    | {"f_jitter": 0.0, "f_width": 32, "width": 24, "g_width": 24, "lambda_z": 5.0},
    "attention": TOGETHER | {"attention": True},
    "not-centred": TOGETHER | {"centred_start": False},
    "orthogonal": TOGETHER | {"init": "orthogonal"},
    "paper-rates": TOGETHER | {"lr": 1e-4, "lr_f": 1e-5, "lr_f_warmup": 0},
    "fast-f": TOGETHER | {"lr_f": 5e-4, "lr_f_warmup": 400},
    "batch-norm": TOGETHER | {"g_norm": "batch"},
    "redraw-each": TOGETHER | {"redraw": "each"},
    "redraw-all": TOGETHER | {"redraw": "all"},
    "delta-generated": TOGETHER | {"redraw": "each", "delta_input": "generated"},
    "lambda-0": TOGETHER | {"lambda_z": 0.0},
    "lambda-2": TOGETHER | {"lambda_z": 2.0},
    "lambda-5": TOGETHER | {"lambda_z": 5.0},
    "lambda-15": TOGETHER | {"lambda_z": 15.0},
    # one part put in
    "min-region": TOGETHER | {"min_region": 0.1, "min_region_weight": 10.0},
    "binarise": TOGETHER | {"binarise": 1.0, "binarise_from": 700},
    "mask-noise": TOGETHER | {"mask_noise": 1.0},
    "diffaugment-translation": TOGETHER | {"diffaugment": "translation"},
    "diffaugment-all": TOGETHER | {"diffaugment": "all"},
    "r1": TOGETHER | {"r1": 0.01},
    "shift": TOGETHER | {"shift": 0.125},
    "g-wide": TOGETHER | {"g_width": 32},
    # two changes
    "lambda-5-min-region": TOGETHER | {"lambda_z": 5.0, "min_region": 0.15, "min_region_weight": 10.0},
    "lambda-2-min-region": TOGETHER | {"lambda_z": 2.0, "min_region": 0.15, "min_region_weight": 10.0},
    "lambda-5-min-region-flip": TOGETHER
    | {"lambda_z": 5.0, "min_region": 0.15, "min_region_weight": 10.0, "flip": True},
    "batch-12": TOGETHER | {"batch": 12},
    "batch-50": TOGETHER | {"batch": 50},
    "d-2": TOGETHER | {"d_updates": 2},
}
