"""What is derived from a configuration's fields: bounds, groups, what may change, JSON."""

import ast
import dataclasses
import inspect
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_origin

import pytest

from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.checks import Config, free_to_change, options
from redoseg.config.markers import MAY_CHANGE, POSITIVE, Bound, Group, at_least, from_0_to
from redoseg.errors import ConfigError


@dataclass(frozen=True)
class Small(Config):
    where: Annotated[Path, MAY_CHANGE] = Path("here")
    count: Annotated[int | None, at_least(2), Group.DATA] = None
    rate: Annotated[float, POSITIVE, MAY_CHANGE, Group.DATA] = 1.0
    share: Annotated[float | None, from_0_to(0.5)] = None
    kind: Literal["one", "two"] = "one"
    other: Literal["ema", "raw"] | None = None
    pair: Annotated[tuple[float, float], Bound("give two that rise", lambda pair: pair[0] < pair[1])] = (
        0.0,
        1.0,
    )
    names: tuple[str, ...] = ()

    def _check_together(self) -> None:
        if self.kind == "two" and self.count is None:
            raise ConfigError("--kind two needs --count")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"count": 1}, "--count is 1: it must be at least 2"),
        ({"rate": 0.0}, "--rate is 0.0: it must be positive"),
        ({"rate": float("inf")}, "--rate is inf: it must be a finite number"),
        ({"share": 0.6}, "--share is 0.6: it must be from 0 to 0.5"),
        ({"share": -0.1}, "--share is -0.1: it must be from 0 to 0.5"),
        ({"share": float("nan")}, "--share is nan: it must be a finite number"),
        ({"kind": "three"}, "--kind is three: choose from one, two"),
        ({"kind": None}, "--kind is None: choose from one, two"),
        ({"other": "both"}, "--other is both: choose from ema, raw"),
        ({"pair": (1.0, 0.0)}, "--pair is 1.0 0.0: give two that rise"),
        ({"kind": "two"}, "--kind two needs --count"),
        ({"kind": "two", "count": 1}, "--count is 1: it must be at least 2"),
    ],
)
def test_what_cannot_be(option, said):
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(Small(), **option)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "option", [{"count": 2}, {"share": 0.0}, {"share": 0.5}, {"other": None}, {"kind": "two", "count": 3}]
)
def test_what_can_be(option):
    config = Small(**option)
    assert {name: getattr(config, name) for name in option} == option


def test_json_and_back():
    config = Small(where=Path("a/b"), count=3, other="raw", pair=(0.25, 0.5), names=("x", "y"))
    content = json.loads(json.dumps(config.as_json()))
    assert list(content) == [field.name for field in dataclasses.fields(Small)]
    assert (content["where"], content["pair"], content["names"]) == ("a/b", [0.25, 0.5], ["x", "y"])
    assert Small.from_json(content) == config


def test_what_json_lacks_has_its_default_and_what_does_not_exist_is_refused():
    assert Small.from_json({"count": 4}) == Small(count=4)
    with pytest.raises(TypeError, match="colour"):
        Small.from_json({"colour": 1})
    with pytest.raises(TypeError, match="data"):
        TrainConfig.from_json({"out": "run"})


def test_groups_and_what_may_change():
    groups = {name: option.group for name, option in options(Small).items()}
    assert groups.pop("count") is groups.pop("rate") is Group.DATA
    assert set(groups.values()) == {Group.FIRST}
    assert free_to_change(Small) == {"where", "rate"}


def test_what_a_continued_run_may_change():
    anywhere = {"out", "data", "steps", "minutes", "device", "compile", "threads", "cache"}
    assert free_to_change(TrainConfig) == anywhere | {"labelled"}
    assert free_to_change(DistillConfig) == anywhere | {"run", "corrected", "ticks"}


@pytest.mark.parametrize("config_class", [TrainConfig, DistillConfig])
def test_every_number_has_a_bound(config_class):
    for name, option in options(config_class).items():
        several = any(get_origin(part) is tuple for part in option.parts)  # checked together
        if {int, float} & {*option.parts} and not several:
            assert any(isinstance(marker, Bound) for marker in option.markers), name


@pytest.mark.parametrize("config_class", [TrainConfig, DistillConfig])
def test_every_option_has_its_help_beside_it(config_class):
    (described,) = ast.parse(inspect.getsource(config_class)).body
    assert isinstance(described, ast.ClassDef)
    for option, after in itertools.pairwise(described.body):
        if isinstance(option, ast.AnnAssign) and isinstance(option.target, ast.Name):
            assert isinstance(after, ast.Expr), option.target.id
            assert isinstance(after.value, ast.Constant), option.target.id


def test_a_value_of_the_wrong_type_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^--steps is 10: it can't be of type str$"):
        TrainConfig.of(data="photos", out="run", steps="10")
