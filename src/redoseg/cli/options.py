"""A configuration's options for the command line: flags without prefixes, and --help in groups."""

import ast
import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import tyro

from redoseg.config.checks import Config, options
from redoseg.config.markers import Group


def by_group(config_class: type[Config], defaults: Mapping[str, Any] | None = None) -> Any:
    """For `Annotated[config_class, ...]`: one flag an option, in --help one box a group.

    An option's default is that of `defaults` where it is there, else its field's. tyro makes a box of each
    nested structure, whose name is the title: so each group is one.
    """
    return tyro.conf.arg(
        name="", help="", prefix_name=False, constructor_factory=lambda: _build(config_class, defaults or {})
    )


def _build(config_class: type[Config], defaults: Mapping[str, Any]) -> Callable[..., Config]:
    """The configuration as a function of its groups."""

    def config(**groups: Any) -> Config:
        return config_class(**dict(item for group in groups.values() for item in vars(group).items()))

    kinds = {group.name: _group_type(config_class, group, defaults) for group in Group}
    kinds = {name: kind for name, kind in kinds.items() if kind is not None}
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, keyword, annotation=kind) for name, kind in kinds.items()]
    config.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    config.__annotations__ = kinds
    return config


def _group_type(config_class: type[Config], group: Group, defaults: Mapping[str, Any]) -> Any:
    """A dataclass of the group's options. None if there are none."""
    known, help_texts, fields = options(config_class), _help_texts(config_class), []
    for field in dataclasses.fields(config_class):
        if known[field.name].group is group:
            kind: Any = Annotated[known[field.name].kind, tyro.conf.arg(help=help_texts[field.name])]
            default: Any = dataclasses.field(default=defaults.get(field.name, field.default))
            fields.append((field.name, kind, default))
    if not fields:
        return None
    made = dataclasses.make_dataclass(group.name, fields, kw_only=True)
    return Annotated[made, tyro.conf.arg(name=group.value, help=""), tyro.conf.OmitArgPrefixes]


def _help_texts(config_class: type[Config]) -> dict[str, str]:
    """The string below each field, as one line."""
    (definition,) = ast.parse(inspect.getsource(config_class)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
