"""A student's options: what is refused, and what is said of its run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.distill import student_options
from redoseg.errors import ConfigError

TRAIN, DISTILL = ({field.name for field in dataclasses.fields(kind)} for kind in (TrainConfig, DistillConfig))
REDO_ONLY = {
    "recipe", "settings", "labelled", "labelled_weight", "width", "g_width", "code_size", "redraw",
    "delta_input", "fakes", "attention", "delta_attention", "g_norm", "init", "init_gain", "centred_start",
    "lambda_z", "lr", "d_updates", "min_region", "min_region_weight", "mask_noise", "binarise",
    "binarise_from", "f_jitter", "f_jitter_hue", "f_jitter_fade", "shift", "diffaugment", "r1", "r1_every",
    "max_restarts", "start", "f_frozen",
}  # fmt: skip


@pytest.fixture
def teacher():
    """Unlike every default."""
    return TrainConfig.of(
        data="photos", out="teacher", recipe="authors", settings="lfw", n=3, size=64, batch=7, seed=5,
        collapse_below=0.02,
        minutes=3.0, labelled=4, f_width=12, f_blocks=2, f_pyramid=False, resize="antialias", lr=1e-2,
        collapse_variation=1e-4,
        collapse_border=0.7,
        lr_f=1e-2, lr_f_warmup=9, f_jitter=0.5, best_by="per_image", precision="bfloat16", compile="on",
        mnist="m", cache="c", blur=(0.0, 0.0, 0.5, 0.5),
    ).resolved()  # fmt: skip


def student(teacher, **options):
    config = DistillConfig(run=Path("teacher"), out=Path("student"), **options)
    return config.resolved(teacher, generators=True)


def test_a_students_run_is_described_by_its_own_options(teacher):
    config = student(
        teacher,
        targets="network",
        minutes=2.5,
        compile="off",
        batch=9,
        seed=1,
        lr=3e-3,
        weight_decay=2e-3,
        log_every=70,
        squares=5,
    )
    described = config.described_as(teacher)
    mine = {name: getattr(described, name) for name in TRAIN - REDO_ONLY}
    assert mine == {
        "data": ("photos",), "out": Path("student"), "n": 3, "size": 64, "batch": 9, "steps": 2000,
        "minutes": 2.5, "seed": 1, "f_width": 24, "f_blocks": 6, "f_pyramid": False, "lr_f": 3e-3,
        "lr_f_warmup": 0, "weight_decay_f": 2e-3, "ema_half_life": 10_000.0, "flip": True,
        "squares": 5, "resize": "antialias", "eval_every": 500, "sample_every": 500, "save_every": 250,
        "collapse_below": 0.02, "collapse_variation": 1e-4, "collapse_border": 0.7, "collapse_every": 70,
        "best_by": "per_image", "device": "auto", "precision": "bfloat16", "compile": "off", "threads": None,
        "cache": Path("c"), "mnist": Path("m"), "blur": (0.0, 0.0, 0.5, 0.5),
    }  # fmt: skip


def test_what_it_has_not_done_is_not_said_of_it(teacher):
    described = student(teacher).described_as(teacher)
    content = json.loads(json.dumps(student_options(described.as_json())))
    assert content.keys() == TRAIN - REDO_ONLY
    assert list(content) == [name for name in described.as_json() if name not in REDO_ONLY]
    assert TrainConfig.from_json(content) == described
    other = dataclasses.replace(
        teacher, lambda_z=77.0, g_width=4, f_jitter=0.0, recipe="paper", settings="cub", labelled=None
    )
    assert student(other).described_as(other) == described


def test_what_a_run_from_before_said_of_its_teacher_is_left_out(teacher):
    before = teacher.as_json() | {"option_of_another_version": 1}
    assert student_options(before).keys() == TRAIN - REDO_ONLY
    assert {"lambda_z", "g_width"} <= before.keys()


def test_an_option_that_both_have_means_the_same_or_is_known_not_to():
    """`lr` is the generators' and `shift` the redrawn region's in a run of `redoseg train`."""
    assert TRAIN & DISTILL - {"lr", "shift"} <= TRAIN - REDO_ONLY


def test_a_student_begun_before_it_had_minutes_goes_on(teacher):
    config = student(teacher)
    content = config.as_json()
    names = list(content)
    assert names[names.index("steps") + 1] == "minutes"
    assert names[names.index("precision") + 1] == "compile"
    del content["minutes"], content["compile"]
    assert DistillConfig.from_json(content) == config


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"minutes": float("nan")}, "--minutes is nan: it must be a finite number"),
        ({"compile": "maybe"}, "--compile is maybe: choose from auto, graphs, on, off"),
        ({"seed": -1}, "--seed is -1: it must be at least 0"),
        ({"f_blocks": -1}, "--f-blocks is -1: it must be at least 0"),
        ({"weight_decay": -1.0}, "--weight-decay is -1.0: it must be at least 0"),
        ({"ema_half_life": -1.0}, "--ema-half-life is -1.0: it must be at least 0"),
        ({"confident": -0.5}, "--confident is -0.5: it must be at least 0 and below 1"),
        ({"confident": 1.0}, "--confident is 1.0: it must be at least 0 and below 1"),
        ({"synthetic": -0.5}, "--synthetic is -0.5: it must be from 0 to 1"),
        ({"synthetic": 1.5}, "--synthetic is 1.5: it must be from 0 to 1"),
        ({"jitter": -0.1}, "--jitter is -0.1: it must be from 0 to 1"),
        ({"shift": 0.6}, "--shift is 0.6: it must be from 0 to 0.5"),
        (
            {"object_share": (0.9, 0.1)},
            "--object-share wants the least and the most as shares of an image, such as .02 .9",
        ),
        ({"lr": 0.0}, "--lr is 0.0: it must be positive"),
        ({"lr": float("nan")}, "--lr is nan: it must be a finite number"),
        ({"batch": 1}, "--batch is 1: it must be at least 2"),
        ({"f_width": 0}, "--f-width is 0: it must be at least 4"),
        ({"weights": "both"}, "--weights is both: choose from ema, raw"),
        ({"precision": "float16"}, "--precision is float16: choose from float32, bfloat16"),
    ],
)
def test_options_that_cannot_be(option, said):
    with pytest.raises(ConfigError) as caught:
        DistillConfig(run=Path("run"), out=Path("out"), **option)
    assert str(caught.value) == said


def test_a_path_may_be_given_as_a_string():
    paths = DistillConfig(run=Path("a"), out=Path("b"), cache=Path("c"))
    strings: dict[str, Any] = {"run": "a", "out": "b", "cache": "c"}
    assert DistillConfig(**strings) == paths
    assert dataclasses.replace(paths, **strings | {"out": "d"}).out == Path("d")
