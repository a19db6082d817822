"""The models that come with the package: their names, their folders, and whether their files are whole."""

import dataclasses
import logging
from pathlib import Path

from redoseg.errors import ModelError
from redoseg.models.card import Card, read_card, sha256_of

ROOT = Path(__file__).parents[1] / "shipped"
"""A folder for each: a model's folder with a card; with generators, if it can redraw."""

SMALL = "-small"
"""NAME-small answers to NAME until there is a NAME."""

_log = logging.getLogger("redoseg.models")
_said: set[str] = set()


def shipped_names() -> list[str]:
    return sorted(card.parent.name for card in ROOT.glob("*/card.json"))


def answers_to(name: str) -> list[str]:
    """All that the model called `name` can be asked for by, its own name first."""
    plain = name.removesuffix(SMALL)
    return [name] if plain in shipped_names() else [name, plain]


def shipped_cards() -> list[Card]:
    """By name. ModelError for a damaged one."""
    return [_card(name) for name in shipped_names()]


def file_sizes(card: Card) -> dict[str, int]:
    """Bytes of a shipped model's files, by name. ModelError if one isn't there."""
    try:
        return {file: (ROOT / card.name / file).stat().st_size for file in card.sha256}
    except FileNotFoundError as error:
        raise _damaged(card.name, Path(str(error.filename)).name) from error


def shipped_folder(name: str) -> Path | None:
    """The folder of the model that answers to `name`, its files checked; None if there is no such model.

    What isn't the plain case is logged, once: a smaller model that stands in, or a folder here of that name,
    which holds no model. ModelError if a file isn't as it was shipped.
    """
    found = next((own for own in shipped_names() if name in answers_to(own)), None)
    if found is None:
        return None
    _check_whole(_card(found))
    if found != name:
        _say_once(f"'{name}' is '{found}', a smaller model, until a full one comes with redoseg")
    if Path(name).exists():
        _say_once(f"'{name}' is the model that comes with redoseg: ./{name} here is no model")
    return ROOT / found


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        _log.warning("%s", text)


def _card(name: str) -> Card:
    try:
        card = read_card(ROOT / name)
    except ModelError as error:
        raise _damaged(name, "card.json") from error
    assert card is not None
    return dataclasses.replace(card, name=name)  # what its folder is called is what it answers to


def _check_whole(card: Card) -> None:
    for file, digest in card.sha256.items():
        path = ROOT / card.name / file
        if not path.is_file() or sha256_of(path) != digest:
            raise _damaged(card.name, file)


def _damaged(name: str, file: str) -> ModelError:
    return ModelError(
        f"the model '{name}' is damaged ({file} isn't as it was shipped): reinstall redoseg "
        "(pip install --force-reinstall redoseg)"
    )
