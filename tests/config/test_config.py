import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from redoseg.config import DistillConfig, TrainConfig
from redoseg.config import train as module
from redoseg.config.checks import free_to_change
from redoseg.config.recipes import RECIPES, SETTINGS
from redoseg.errors import ConfigError
from refusals import refusal

FIELDS = {field.name for field in dataclasses.fields(TrainConfig)}


def of(**options):
    given: dict[str, Any] = {"data": ("photos",), "out": Path("run")} | options
    return TrainConfig.of(**given)


def differing(one, other):
    ones, others = dataclasses.asdict(one), dataclasses.asdict(other)
    return {name for name in FIELDS if ones[name] != others[name]}


# Recipes and settings


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("settings", SETTINGS)
def test_every_recipe_and_settings_load(recipe, settings):
    config = of(recipe=recipe, settings=settings)
    assert (config.recipe, config.settings) == (recipe, settings)
    table = RECIPES[recipe] | SETTINGS[settings]
    assert {name: getattr(config, name) for name in table} == table
    bare = TrainConfig(data=("photos",), out=Path("run"), recipe=recipe, settings=settings)
    assert differing(config, bare) <= table.keys()


@pytest.mark.parametrize("table", [*RECIPES.values(), *SETTINGS.values()])
def test_tables_name_options_and_not_what_a_run_is_about(table):
    assert table.keys() <= FIELDS
    assert not table.keys() & ({"recipe", "settings", "seed"} | free_to_change(TrainConfig))


@pytest.mark.parametrize("table", ["Recipe", "Settings"])
def test_the_choices_offered_are_the_tables(table):
    tables = {"Recipe": RECIPES, "Settings": SETTINGS}
    assert set(getattr(module, table).__args__) == set(tables[table])


def test_settings_go_over_the_recipe_and_explicit_options_over_both():
    assert of(recipe="paper").g_width == 64
    assert of(recipe="paper", settings="cub").g_width == 32
    assert of(recipe="paper", settings="cub", g_width=16).g_width == 16
    assert of(recipe="paper", lr=1e-3).lr == 1e-3
    assert of(settings="digits").n == 3
    assert of(settings="digits", n=2).n == 2


def test_an_explicit_option_wins_even_if_it_is_the_default():
    default = TrainConfig(data=("photos",), out=Path("run"))
    assert of(recipe="paper").lr != default.lr
    assert of(recipe="paper", lr=default.lr).lr == default.lr
    assert of(recipe="authors", redraw="one", delta_input="composed").redraw == "one"
    assert of(settings="lfw", g_width=None).g_width is None


def test_paper_and_authors_differ_in_the_rows_of_the_methods_table_alone():
    """The last row, the best permutation, is how both choose the best checkpoint: the paper doesn't say."""
    rows = {
        "regions redrawn": "redraw",
        "delta sees": "delta_input",
        "delta attention": "delta_attention",
        "norm in G": "g_norm",
        "fakes for the D step": "fakes",
        "image resize": "resize",
    }
    defect = "init"  # the orthogonal start that never reached their weights under spectral norm
    for settings in SETTINGS:
        paper, authors = (of(recipe=recipe, settings=settings) for recipe in ("paper", "authors"))
        assert differing(paper, authors) - {"recipe"} == {*rows.values(), defect}
        assert paper.best_by == authors.best_by == "per_image"


def test_paper_is_the_papers_table():
    expected = {
        "redraw": "one", "delta_input": "composed", "delta_attention": True, "g_norm": "batch",
        "fakes": "new", "size": 128, "batch": 25, "init": "orthogonal", "init_gain": 0.8, "lr": 1e-4,
        "lr_f": 1e-5, "weight_decay_f": 1e-4, "width": 64, "attention": True, "n": 2, "code_size": 32,
        "f_width": 16, "f_blocks": 3, "d_updates": 1, "lambda_z": 5.0,
    }  # fmt: skip
    ours_alone = {
        "centred_start": False, "lr_f_warmup": 0, "ema_half_life": 0.0, "min_region": 0.0, "binarise": 0.0,
        "flip": False, "f_jitter": 0.0,
        "f_jitter_hue": 0.0, "shift": 0.0, "diffaugment": "off", "r1": 0.0, "mask_noise": 0.0,
    }  # fmt: skip
    paper = of(recipe="paper")
    assert {name: getattr(paper, name) for name in expected | ours_alone} == expected | ours_alone
    assert 20_000 <= paper.steps <= 40_000


def test_authors_is_the_authors_code():
    expected = {
        "redraw": "each", "delta_input": "generated", "delta_attention": False, "g_norm": "instance",
        "fakes": "same", "resize": "nearest", "init": "orthogonal-free",
    }  # fmt: skip
    authors = of(recipe="authors")
    assert {name: getattr(authors, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("lfw", {"lambda_z": 15.0, "g_width": 64, "n": 2, "code_size": 32}),
        ("flowers", {"lambda_z": 5.0, "g_width": 32, "n": 2, "code_size": 32}),
        ("cub", {"lambda_z": 5.0, "g_width": 32, "n": 2, "code_size": 32}),
        ("digits", {"lambda_z": 5.0, "g_width": 64, "n": 3, "code_size": 16}),
    ],
)
def test_settings_are_the_papers(settings, expected):
    config = of(recipe="paper", settings=settings)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recipe": "pepper"}, r"no recipe 'pepper': there are default, paper, authors$"),
        ({"settings": "dogs"}, r"no settings 'dogs': there are none, lfw, flowers, cub, digits$"),
        ({"lr_g": 1e-3}, r"no option 'lr_g'$"),
        ({"min_region": 0.4, "n": 3}, r"--min-region is 0.4: 3 regions"),
        (
            {"redraw": "one", "delta_input": "generated"},  # one region is no whole image
            r"--delta-input generated needs --redraw each or all",
        ),
    ],
    ids=["recipe", "settings", "option", "min_region", "delta_input"],
)
def test_what_does_not_exist_or_not_together_is_refused_by_name(options, said):
    with refusal(ConfigError, match=f"^{said}"):
        of(**options)


def test_options_that_may_change_exist():
    assert free_to_change(TrainConfig) <= FIELDS
    assert free_to_change(DistillConfig) <= {field.name for field in dataclasses.fields(DistillConfig)}


# Ranges


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("n", [-1, 0, 1]),
        ("size", [0, 16, 48, 100, 512]),
        ("batch", [0, 1]),
        ("steps", [0, -5]),
        ("minutes", [0.0, -1.0, float("nan")]),
        ("width", [0, 3]),
        ("g_width", [0, 3]),
        ("f_width", [0, 3]),
        ("f_blocks", [-1]),
        ("code_size", [0]),
        ("lambda_z", [-1.0, float("nan")]),
        ("labelled", ["0", "-3", "", " "]),
        ("labelled_weight", [-1.0, float("nan")]),
        ("lr", [0.0, -1e-4, float("nan")]),
        ("lr_f", [0.0, -1e-4]),
        ("lr_f_warmup", [-1]),
        ("weight_decay_f", [-1e-4]),
        ("d_updates", [0]),
        ("init_gain", [0.0, -0.8]),
        ("ema_half_life", [-1.0]),
        ("min_region", [-0.1, 0.51, float("nan")]),
        ("min_region_weight", [-1.0]),
        ("f_jitter", [-0.1, 1.1]),
        ("f_jitter_hue", [-0.1, 2.0]),
        ("binarise", [-1.0]),
        ("binarise_from", [0]),
        ("collapse_below", [-0.01]),
        ("collapse_variation", [-1e-3]),
        ("collapse_every", [0]),
        ("max_restarts", [-1]),
        ("eval_every", [0]),
        ("sample_every", [0]),
        ("save_every", [0]),
        ("threads", [0, -2]),
        ("recipe", ["pepper"]),
        ("settings", ["dogs"]),
        ("redraw", ["two", None]),
        ("delta_input", ["image"]),
        ("fakes", ["old"]),
        ("g_norm", ["layer"]),
        ("init", ["zeros"]),
        ("resize", ["bilinear"]),
        ("best_by", ["loss"]),
        ("precision", ["float16"]),
        ("blur", [(0.5, 0.2, 0.5, 0.8), (0.2, 0.8, 0.7, 0.1), (-0.1, 0, 1, 1), (0, 0, 1.2, 1)]),
    ],
)
def test_a_value_out_of_range_is_one_line_that_names_the_option(option, values):
    for value in values:
        with pytest.raises(ConfigError) as error:
            dataclasses.replace(of(), **{option: value})
        message = str(error.value)
        name = f"--{option.replace('_', '-')}"
        assert message.startswith((f"{name} is {value}: ", f"{name} wants "))
        assert "\n" not in message


@pytest.mark.parametrize(
    "options",
    [
        {"n": 2, "batch": 2, "steps": 1, "f_blocks": 0, "code_size": 1, "threads": 1, "max_restarts": 0},
        {"min_region": 0.5},
        {"min_region": 0.25, "n": 4},
        {"width": None, "minutes": None, "threads": None, "blur": None},
        {"blur": (0.0, 0.0, 1.0, 1.0)},
        {"lambda_z": 0.0, "ema_half_life": 0.0, "weight_decay_f": 0.0},
        {"redraw": "each", "delta_input": "generated"},
        {"redraw": "all", "delta_input": "generated"},
    ],
)
def test_the_edges_are_allowed(options):
    config = of(**options)
    assert {name: getattr(config, name) for name in options} == options


# Saved and read again


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"recipe": "authors", "settings": "digits"},
        {
            "data": ("photos", "more.tar"),
            "out": Path("runs/a b"),
            "cache": Path("/cache"),
            "mnist": Path("mnist"),
            "blur": (0.25, 0.2, 0.75, 0.8),
            "labelled": "few.tar",
            "minutes": 1.5,
            "threads": 2,
            "lr": 3e-4,
        },
    ],
)
@pytest.mark.parametrize("resolve", [False, True])
def test_a_config_survives_json(options, resolve):
    config = of(**options)
    config = config.resolved() if resolve else config
    saved = json.loads(json.dumps(config.as_json()))
    assert saved.keys() == FIELDS
    again = TrainConfig.from_json(saved)
    assert again == config
    assert {name: type(getattr(again, name)) for name in FIELDS} == {
        name: type(getattr(config, name)) for name in FIELDS
    }


@pytest.mark.parametrize(("size", "half"), [(32, 16), (64, 32), (128, 64), (256, 64)])
def test_widths_not_given_are_half_the_size(size, half):
    config = of(size=size)
    assert (config.width, config.g_width) == (None, None)
    assert (config.resolved().width, config.resolved().g_width) == (half, half)
    assert differing(config, config.resolved()) == {"width", "g_width"}
    given = of(size=size, width=8, g_width=12).resolved()
    assert (given.width, given.g_width) == (8, 12)
    assert given.resolved() == given
