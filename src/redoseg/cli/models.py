"""The action that lists what comes with the package: models."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from redoseg.cli.terminal import output
from redoseg.models.card import GENERATORS, ROWS, WEIGHTS, Card
from redoseg.models.shipped import answers_to, file_sizes, shipped_cards

if TYPE_CHECKING:
    from rich.table import Table


def models(json_: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
    """List the models that come with it: what they were trained on, their scores, their files.

    Args:
        json_: Print a JSON list of their cards instead of a table.
    """
    cards = shipped_cards()
    if json_:
        print(json.dumps([_described(card) for card in cards], indent=2))
    elif cards:
        output.print(_table(cards))
        print(*map(_about, cards), sep="\n")
    else:
        print("no model comes with this version: redoseg train makes one")
    return 0


def _described(card: Card) -> dict[str, Any]:
    """The card, the names that the model answers to, and the bytes of each of its files."""
    return card.as_json() | {"names": answers_to(card.name), "bytes": file_sizes(card)}


def _table(cards: list[Card]) -> "Table":
    from rich.table import Table

    table = Table(title="scores: IoU above, accuracy below", title_justify="left", show_lines=True)
    for column in ("model", "trained", *ROWS):
        table.add_column(column.replace("_", " "), no_wrap=column == "model")
    for card in cards:
        names = "\n".join(f"(also {name})" if name != card.name else name for name in answers_to(card.name))
        table.add_row(names, _trained(card), *(_score(card, row) for row in ROWS))
    return table


def _trained(card: Card) -> str:
    distilled = "distilled\n" if card.teacher else ""
    recipe = f", {card.options['recipe']}" if "recipe" in card.options else ""  # a student has none
    return f"{card.size} px{recipe}\n{distilled}{card.steps} steps\ncheckpoint: {card.rule}"


def _score(card: Card, row: str) -> str:
    found = (card.scores or {}).get(row)
    return "" if found is None else f"{found['iou']:.3f}\n{found['accuracy']:.3f}"


def _about(card: Card) -> str:
    """What takes more room than a table has."""
    scored, sizes = "", file_sizes(card)
    if card.scores is not None:
        scored = f", scored on {card.scores['images']} images of {card.scores['split']}"
    redraws = "; it can redraw" if GENERATORS in sizes else ""
    return (
        f"{card.name}: {card.data['text']}; {card.data['images']} images{scored}\n"
        f"  {sum(sizes.values()) / 1e6:.1f} MB{redraws}; weights' SHA-256:\n  {card.sha256[WEIGHTS]}"
    )
