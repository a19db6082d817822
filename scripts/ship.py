"""A run's model into the package, as src/redoseg/shipped/NAME: its files and its card.

python scripts/ship.py RUN NAME --data-text TEXT --licence TEXT [--subject faces] [--checkpoint label-free]
    [--generators] [--evaluation FILE --split test | --unscored]

NAME-small goes, if it is there.
"""

import argparse
import dataclasses
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from redoseg.errors import ModelError, RedosegError
from redoseg.exporting.hub_folder import pack
from redoseg.exporting.onnx import Starts
from redoseg.exporting.provenance import card_of_run
from redoseg.files import read_json, write_folder_aside
from redoseg.models import shipped
from redoseg.models.card import Card, rule_text
from redoseg.models.load import load_model
from redoseg.models.model import Model
from redoseg.models.run_folder import RunFolder
from redoseg.models.source import find_model

REPOSITORY = Path(__file__).resolve().parents[1]
MOST_WEIGHTS, MOST_IN_ALL = 5_000_000, 8_000_000
"""Bytes of weights, and of all files, in a checkout."""

_WEIGHTS = (".safetensors", ".onnx")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _check_name(options.name)
        run = RunFolder(options.run)
        model = _as_saved(run) if options.saved_model else _checkpoint(options)
        card = card_of_run(run, model, options.name, evaluation=options.evaluation, split=options.split)
        card = card.with_details(subject=options.subject, text=options.data_text, licence=options.licence)
        card = dataclasses.replace(card, commands=_from_the_start(card))
        if card.scores is None and not options.unscored:
            raise ModelError(
                f"there are no scores of {options.run} at step {model.step}: redoseg evaluate {options.run} "
                f"DATA --checkpoint {options.checkpoint} --json > FILE, and --evaluation FILE; without masks "
                "to score it with, --unscored"
            )
        starts = find_model(run.model if options.saved_model else run.path).starts()
        _ship(model, card, starts, generators=options.generators)
    except (RedosegError, OSError) as error:
        print(f"ship.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    summary, _, usage = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("name", help="what the model is called; NAME-small answers to NAME, too")
    parser.add_argument("--data-text", required=True, help="what the training data is, and where it is from")
    parser.add_argument("--licence", required=True, help="under which terms the training data may be used")
    parser.add_argument("--subject", help="what is on the photos, in the plural (as the data's name says)")
    parser.add_argument("--checkpoint", default="last", help="last, label-free, best or a step (last)")
    parser.add_argument("--weights", choices=("ema", "raw"), help="(ema if the run keeps one)")
    parser.add_argument(
        "--saved-model", action="store_true", help="take RUN/model, for a run whose checkpoints are gone"
    )
    parser.add_argument("--unscored", action="store_true", help="there are no masks to score it with")
    parser.add_argument("--generators", action="store_true", help="with generators, in half precision")
    parser.add_argument("--evaluation", type=Path, help="`redoseg evaluate --json` (RUN/evaluation.json)")
    parser.add_argument("--split", help="that the evaluation is of (as a run chooses it: val, else train)")
    return parser


def _check_name(name: str) -> None:
    if not name.replace("-", "a").isalnum() or name != name.lower() or name.startswith("-"):
        raise ModelError(f"'{name}' is no name for a model: use small letters, digits and -")


def _checkpoint(options: argparse.Namespace) -> Model:
    return load_model(options.run, checkpoint=options.checkpoint, weights=options.weights)


def _as_saved(run: RunFolder) -> Model:
    """RUN/model, which a run ends with; evaluation.json says which checkpoint that was."""
    found, chosen = load_model(run.model), read_json(run.evaluation)["checkpoint"]
    return dataclasses.replace(
        found, config=run.config(), rule=chosen["rule"], step=chosen["step"], ema=chosen["ema"]
    )


def _from_the_start(card: Card) -> tuple[str, ...]:
    """The card's commands, after those of NAME-small if that was the first teacher: it goes."""
    small = f"{card.name}{shipped.SMALL}"
    first = f"redoseg distill {small} "
    before = next((other.commands for other in shipped.shipped_cards() if other.name == small), None)
    if before is None or not card.commands[0].startswith(first):
        return card.commands
    return (*before, card.commands[0].replace(first, f"redoseg distill runs/{small} "), *card.commands[1:])


def _ship(model: Model, card: Card, starts: Starts, *, generators: bool) -> None:
    """Nothing is written if the checkout would grow over its budget. NAME takes the place of NAME-small."""
    folder, small = shipped.ROOT / card.name, shipped.ROOT / f"{card.name}{shipped.SMALL}"
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / card.name
        card = pack(model, card, made, starts=starts, generators=generators, shared=True)
        new = sorted(made.iterdir())
        sizes = {file.name: file.stat().st_size for file in new}
        others = [file for file in _checkout() if not {folder, small} & {*file.parents}]
        weights = _bytes([file for file in (*others, *new) if file.suffix in _WEIGHTS])
        whole = _bytes([*others, *new])
        for what, size, most in (("weights", weights, MOST_WEIGHTS), ("files", whole, MOST_IN_ALL)):
            if size > most:
                raise ModelError(
                    f"with {card.name} ({sum(sizes.values()):,} bytes) the checkout's {what} would be "
                    f"{size:,} bytes, more than {most:,}: remove or shrink others first"
                )
        folder.parent.mkdir(exist_ok=True)
        write_folder_aside(folder, lambda aside: shutil.copytree(made, aside))
    if small.exists():
        shutil.rmtree(small)
        print(f"{small} is gone: {card.name} has taken its place")
    for name, size in sizes.items():
        print(f"{folder / name}: {size:,} bytes {card.sha256.get(name, '')}".rstrip())
    print(f"checkpoint: {rule_text(card)}, {card.steps} steps; made again by")
    print(*(f"    {line}" for line in card.commands), sep="\n")
    print(f"in the checkout: weights {weights:,} of {MOST_WEIGHTS:,} bytes, all {whole:,} of {MOST_IN_ALL:,}")


def _checkout() -> list[Path]:
    """Files that are or may be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [REPOSITORY / name for name in set(listed.split("\0")) if name and (REPOSITORY / name).is_file()]


def _bytes(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    sys.exit(main())
