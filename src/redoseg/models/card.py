"""A model's card: what is known of how it was made and how good it is, as `card.json` holds it. No torch."""

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
"""What a model's folder holds: the mask network and what it is built from, the same for ONNX Runtime, and, if
it can redraw, the generators."""
MATCHINGS = {
    "per_dataset": "one matching for the split",
    "per_image": "matched per image, as in the paper's tables",
}
TRIVIAL = {
    "fixed_mask": "trivial: one fixed mask, chosen with labels",
    "disc": "trivial: one centred disc, chosen with labels",
}
ROWS = (*MATCHINGS, *TRIVIAL)
"""The rows of scores and what tables say of them: the model by either matching, then trivial answers."""


@dataclass(frozen=True)
class Card:
    """`scores`: split, images and for each of ROWS a row, None where there is none; None: it wasn't scored.

    `options` are the run's, but for paths of the machine at hand. `rule`, `steps` and `ema` say which of its
    checkpoints this is; a distilled model's `teacher` has the same three. `sha256` is by file name.
    """

    name: str
    subject: str
    """What is on the photos, in the plural: faces. Empty: nobody said."""
    data: dict[str, Any]
    """name, text, images, fingerprint, and licence: None if nobody said."""
    options: dict[str, Any]
    rule: str
    steps: int | None
    ema: bool | None
    teacher: dict[str, Any] | None
    scores: dict[str, Any] | None
    commands: tuple[str, ...]
    """What makes the model again, in this order."""
    trained_with: dict[str, Any]
    """Versions, and the device."""
    version: str
    """Of the library that wrote the card."""
    sha256: dict[str, str]
    supervision: dict[str, Any] | None = None
    """What masks were read in training, as run.json has it; None: none."""

    @property
    def n(self) -> int:
        return int(self.options["n"])

    @property
    def size(self) -> int:
        return int(self.options["size"])

    def config(self) -> TrainConfig:
        """The run's options as far as this version knows them. ConfigError for a value it doesn't."""
        known = {field.name for field in dataclasses.fields(TrainConfig)}
        return TrainConfig.from_json({name: value for name, value in self.options.items() if name in known})

    def as_json(self) -> dict[str, Any]:
        """All of it, and the options that one asks for first beside the name."""
        first = {name: self.options.get(name) for name in _FIRST}
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"name": self.name} | first | fields | {"commands": list(self.commands)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What `as_json` gave. KeyError or TypeError for anything else."""
        fields = {field.name: content[field.name] for field in dataclasses.fields(cls)[:-1]}
        fields["supervision"] = content.get("supervision")  # not in cards of versions that knew of none
        card = cls(**fields | {"commands": tuple(fields["commands"])})
        if not all(isinstance(part, dict) for part in (card.data, card.options, card.sha256)):
            raise TypeError("data, options and sha256 are objects")
        return card

    def write(self, folder: Path) -> None:
        write_json(folder / CARD, self.as_json())

    def described(self, *, subject: str | None, text: str | None, licence: str | None) -> "Card":
        """The same with what somebody has said of it; None: as it was."""
        data = self.data | {"text": text or self.data["text"], "licence": licence or self.data["licence"]}
        return dataclasses.replace(self, subject=subject or self.subject, data=data)


_FIRST = ("n", "size", "recipe", "settings", "seed")


def read_card(folder: Path) -> Card | None:
    """The card in a model's folder, None if there is none. ModelError if it can't be read."""
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
    """How the checkpoint was chosen; of a distilled model the teacher's, too."""
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
    """What run.json, a checkpoint or a card says of masks read in training, in words; None where none was."""
    if supervision is None or supervision.get("kind", "none") == "none":
        return None
    count = supervision["labelled"]
    return f"{supervision['kind']}: {count} mask{'' if count == 1 else 's'}"


def beats_trivial(card: Card) -> bool | None:
    """Whether the honest IoU is above those of the trivial rows. None where that can't be said."""
    if card.scores is None:
        return None
    trivial = [card.scores[row]["iou"] for row in TRIVIAL if card.scores[row] is not None]
    return card.scores["per_dataset"]["iou"] > max(trivial) if trivial else None
