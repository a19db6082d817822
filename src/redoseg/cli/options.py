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
    return tyro.conf.arg(name="", constructor_factory=lambda: _build(config_class, defaults or {}))


def _build(config_class: type[Config], defaults: Mapping[str, Any]) -> Callable[..., Config]:
    """The configuration as a function of its groups."""
    known, help_texts = options(config_class), _help_texts(config_class)
    fields: dict[Group, list[tuple[str, Any, Any]]] = {group: [] for group in Group}
    for field in dataclasses.fields(config_class):
        kind: Any = Annotated[known[field.name].kind, tyro.conf.arg(help=help_texts[field.name])]
        default: Any = dataclasses.field(default=defaults.get(field.name, field.default))
        fields[known[field.name].group].append((field.name, kind, default))

    def config(**groups: Any) -> Config:
        return config_class(**dict(item for group in groups.values() for item in vars(group).items()))

    kinds = {group.name: _box(group, found) for group, found in fields.items() if found}
    keyword = inspect.Parameter.KEYWORD_ONLY
    config.__annotations__ = kinds
    config.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, keyword, annotation=kind) for name, kind in kinds.items()]
    )
    return config


def _box(group: Group, fields: list[tuple[str, Any, Any]]) -> Any:
    """A structure of the group's options."""
    made = dataclasses.make_dataclass(group.name, fields, kw_only=True)
    return Annotated[made, tyro.conf.arg(name=group.value, help=""), tyro.conf.OmitArgPrefixes]


def _help_texts(config_class: type[Config]) -> dict[str, str]:
    """The string below each field, as one line."""
    definition: Any = ast.parse(inspect.getsource(config_class)).body[0]
    return {
        ast.unparse(field.target): " ".join(ast.literal_eval(text.value).split())
        for field, text in itertools.pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
    }
