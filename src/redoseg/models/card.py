"""A model's card (`card.json`): how the model was made, and how good its masks are. Without torch."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from redoseg.config import TrainConfig
from redoseg.errors import ModelError
from redoseg.files import read_json, write_json

CARD = "card.json"
CONFIG, WEIGHTS, ONNX, GENERATORS = "config.json", "model.safetensors", "mask.onnx", "generators.safetensors"
REFINING = "refining.json"
"""A model's folder: the mask network's options and weights, the same network for ONNX Runtime, generators,
and where refining its masks starts."""
MATCHINGS = {
    "per_dataset": "one matching for the split",
    "per_image": "matched per image, as in the paper's tables",
}
TRIVIAL = {
    "fixed_mask": "trivial: one fixed mask, chosen with labels",
    "disc": "trivial: one centred disc, chosen with labels",
}
AS_WRITTEN, WRITTEN_TEXT = "as_written", "masks as `redoseg segment` writes them"
"""The first row of a model's scores: its masks as `redoseg segment` writes them. The truth
names no background; several objects are told apart by one matching for the split."""
WHOLE = "whole"
"""The same of whole photos at their own size, not of centred squares."""
ROWS = (*MATCHINGS, *TRIVIAL)
"""The rows of scores: the model by either matching, then trivial answers. MATCHINGS and TRIVIAL label
them."""
ON_CARDS = (AS_WRITTEN, *ROWS)
"""Those on a card; the first is missing where masks weren't scored as they are written."""


@dataclass(frozen=True)
class Card:
    """The content of card.json.

    `options` are the run's, without paths of the machine. `rule`, `steps` and `ema` (whether it is the moving
    average) say which of the run's checkpoints this is; `teacher` has the same three for a distilled model.
    `scores` holds the split, the number of images, and for each of ON_CARDS its scores or None; it is None
    for a model that wasn't scored. `sha256` holds the files' sums by name.
    """

    name: str
    subject: str
    """What is on the photos, in the plural, such as faces; empty if unknown."""
    data: dict[str, Any]
    """name, text, images, fingerprint, and licence, which is None if unknown."""
    options: dict[str, Any]
    rule: str
    steps: int | None
    ema: bool | None
    teacher: dict[str, Any] | None
    scores: dict[str, Any] | None
    commands: tuple[str, ...]
    """The commands that train the model again, in this order."""
    trained_with: dict[str, Any]
    """The versions and the device of the training."""
    version: str
    """The version of redoseg that wrote the card."""
    sha256: dict[str, str]
    supervision: dict[str, Any] | None = None
    """Which masks were read in training, as run.json has it; None if none were."""
    refining: dict[str, Any] | None = None
    """`starts`, the thresholds from which its masks are refined, chosen without masks; None if unknown."""

    @property
    def n(self) -> int:
        return int(self.options["n"])

    @property
    def size(self) -> int:
        return int(self.options["size"])

    def config(self) -> TrainConfig:
        """The run's options that this version knows. ConfigError for a value that it doesn't know."""
        known = {field.name for field in dataclasses.fields(TrainConfig)}
        return TrainConfig.from_json({name: value for name, value in self.options.items() if name in known})

    def as_json(self) -> dict[str, Any]:
        """The card as JSON: all fields, and after the name the most important options."""
        first = {name: self.options.get(name) for name in ("n", "size", "recipe", "settings", "seed")}
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"name": self.name} | first | fields | {"commands": list(self.commands)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The card of which `as_json` returned `content`. KeyError or TypeError for anything else."""
        fields = {field.name: content[field.name] for field in dataclasses.fields(cls)[:-2]}
        fields |= {name: content.get(name) for name in ("supervision", "refining")}  # older cards lack them
        card = cls(**fields | {"commands": tuple(fields["commands"])})
        if not all(isinstance(part, dict) for part in (card.data, card.options, card.sha256)):
            raise TypeError("data, options and sha256 are objects")
        return card

    def write(self, folder: Path) -> None:
        write_json(folder / CARD, self.as_json())

    def with_details(self, *, subject: str | None, text: str | None, licence: str | None) -> "Card":
        """A copy with another subject, text and licence of the data; None leaves one as it is."""
        data = self.data | {"text": text or self.data["text"], "licence": licence or self.data["licence"]}
        return dataclasses.replace(self, subject=subject or self.subject, data=data)


def read_card(folder: Path) -> Card | None:
    """The card in a model's folder; None without one. ModelError if it can't be read."""
    if not (folder / CARD).is_file():
        return None
    try:
        return Card.from_json(read_json(folder / CARD))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / CARD} is no card of a model, or it is damaged ({error})") from error


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def rule_text(card: Card) -> str:
    """In words, how the checkpoint was chosen; for a distilled model also the teacher's."""
    text = _RULES.get(card.rule, card.rule)
    if card.teacher is None:
        return text
    return f"{text}; its teacher's: {_RULES.get(card.teacher['rule'], card.teacher['rule'])}"


_RULES = {
    "last": "the last one (no label chose it)",
    "label-free": "chosen by a score that takes no label",
    "best": "chosen with the labels of a split",
    "step": "a step named by hand",
}


def supervision_text(supervision: dict[str, Any] | None) -> str | None:
    """In words, which masks were read in training, by run.json, a checkpoint or a card; None if none were."""
    if supervision is None or supervision.get("kind", "none") == "none":
        return None
    count, ticks = supervision["labelled"], sum(map(len, (supervision.get("ticks") or {}).values()))
    masks = f"{count} mask{'' if count == 1 else 's'}"
    ticked = f"{ticks} tick{'' if ticks == 1 else 's'}"
    said = [text for number, text in ((count, masks), (ticks, ticked)) if number]
    return f"{supervision['kind']}: {' and '.join(said) or masks}"


def beats_trivial(card: Card) -> bool | None:
    """Whether the IoU by one matching for the split is above those of the trivial rows; None if unknown."""
    if card.scores is None:
        return None
    trivial = [card.scores[row]["iou"] for row in TRIVIAL if card.scores[row] is not None]
    return card.scores["per_dataset"]["iou"] > max(trivial) if trivial else None
