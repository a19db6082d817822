"""The action models: lists the models that come with the package."""

import json
from typing import TYPE_CHECKING, Annotated

import tyro

from redoseg.cli.terminal import output
from redoseg.models.card import GENERATORS, ON_CARDS, WEIGHTS, Card
from redoseg.models.shipped import answers_to, file_sizes, shipped_cards

if TYPE_CHECKING:
    from rich.table import Table


def models(json_: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
    """List the models that come with it: what they were trained on, their scores, their files.

    NAME-small is a smaller model, which is found as NAME, too, until a full one of that name comes.

    Args:
        json_: Print a JSON list of their cards instead of a table.
    """
    cards = shipped_cards()
    if json_:
        own = [card.as_json() | {"names": answers_to(card.name), "bytes": file_sizes(card)} for card in cards]
        print(json.dumps(own, indent=2))
    elif cards:
        output.print(_make_table(cards))
        print(*map(_summary, cards), sep="\n")
        small = [card.name for card in cards if len(answers_to(card.name)) > 1]
        if small:
            print("(also NAME): NAME is this smaller model until a full one comes with redoseg")
    else:
        print("no model comes with this version: redoseg train makes one")
    return 0


def _make_table(cards: list[Card]) -> "Table":
    from rich.table import Table

    table = Table(title="scores: IoU above, accuracy below", title_justify="left", show_lines=True)
    for column in ("model", "trained", *ON_CARDS):
        title = column.replace("_", " ").replace("dataset", "data set")  # each word fits into 80 columns
        table.add_column(title, no_wrap=column in ("model", "trained"))
    for card in cards:
        names = "\n".join(f"(also {name})" if name != card.name else name for name in answers_to(card.name))
        table.add_row(names, _training_cell(card), *(_score_cell(card, row) for row in ON_CARDS))
    return table


def _training_cell(card: Card) -> str:
    distilled = "distilled\n" if card.teacher else ""
    recipe = f", {card.options['recipe']}" if "recipe" in card.options else ""  # a student has none
    return f"{card.size} px{recipe}\n{distilled}{card.steps} steps\nrule: {card.rule}"


def _score_cell(card: Card, row: str) -> str:
    scores = (card.scores or {}).get(row)
    return "" if scores is None else f"{scores['iou']:.3f}\n{scores['accuracy']:.3f}"


def _summary(card: Card) -> str:
    """What a card says that has no room in the table: data, file sizes, a checksum."""
    scored, sizes = "", file_sizes(card)
    if card.scores is not None:
        scored = f", scored on {card.scores['images']} images of {card.scores['split']}"
    redraws = "; it can redraw" if GENERATORS in sizes else ""
    return (
        f"{card.name}: {card.data['text']}; {card.data['images']} images{scored}\n"
        f"  {sum(sizes.values()) / 1e6:.1f} MB{redraws}; weights' SHA-256:\n  {card.sha256[WEIGHTS]}"
    )
