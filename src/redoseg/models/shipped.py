"""The models that come with the package: their names, their folders, and whether their files are whole."""

import dataclasses
import logging
from pathlib import Path

from redoseg.errors import ModelError
from redoseg.models.card import Card, read_card, sha256_of

ROOT = Path(__file__).parents[1] / "shipped"
"""One model's folder each, with a card and, if it can redraw, generators."""

SMALL = "-small"
"""A model NAME-small is also found as NAME, as long as there is no NAME."""

_log = logging.getLogger("redoseg.models")
_warnings: set[str] = set()


def shipped_names() -> list[str]:
    return sorted(card.parent.name for card in ROOT.glob("*/card.json"))


def answers_to(name: str) -> list[str]:
    """All names by which the model called `name` is found, its own name first."""
    plain = name.removesuffix(SMALL)
    return [name] if plain in shipped_names() else [name, plain]


def replaced_by(name: str) -> str | None:
    """The shipped model that is there instead of NAME-small, if that was its small one; None for other
    names."""
    plain = name.removesuffix(SMALL)
    return plain if plain != name and plain in shipped_names() else None


def shipped_cards() -> list[Card]:
    """The cards of all shipped models, by name. ModelError for a damaged one."""
    return [_card(name) for name in shipped_names()]


def file_sizes(card: Card) -> dict[str, int]:
    """The sizes in bytes of a shipped model's files, by name. ModelError if one is missing."""
    try:
        return {file: (ROOT / card.name / file).stat().st_size for file in card.sha256}
    except FileNotFoundError as error:
        raise _damaged(card.name, Path(str(error.filename)).name) from error


def shipped_folder(name: str) -> Path | None:
    """The folder of the shipped model that is found as `name`, None without one. ModelError if a file of it
    has changed. Warns, once, of another folder of that name."""
    model = next((own for own in shipped_names() if name in answers_to(own)), None)
    if model is None:
        return None
    for file, digest in _card(model).sha256.items():
        path = ROOT / model / file
        if not path.is_file() or sha256_of(path) != digest:
            raise _damaged(model, file)
    if Path(name).exists():
        _warn_once(f"'{name}' is the model that comes with redoseg: ./{name} here is no model")
    return ROOT / model


def _warn_once(text: str) -> None:
    if text not in _warnings:
        _warnings.add(text)
        _log.warning("%s", text)


def _card(name: str) -> Card:
    try:
        card = read_card(ROOT / name)
    except ModelError as error:
        raise _damaged(name, "card.json") from error
    assert card is not None
    return dataclasses.replace(card, name=name)  # it is found by its folder's name


def _damaged(name: str, file: str) -> ModelError:
    return ModelError(
        f"the model '{name}' is damaged ({file} isn't as it was shipped): reinstall redoseg "
        "(pip install --force-reinstall redoseg)"
    )
