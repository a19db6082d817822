"""What the game does to a mask network that has found the object, and what its discriminator thinks of it.

    python experiments/warm_start.py RUN... --json FILE

Each RUN is one of `redoseg train DATA --start MODEL --f-frozen N` (docs/method.md has the command). Until
step N, G, D and delta learn to redraw the regions of the start as it is: how far D is fooled then, is its
opinion of the start. What comes after it is what the game makes of f.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from redoseg.config import TrainConfig

DEFAULTS = TrainConfig.of(data="photos", out=Path("run")).as_json()


def row(run: Path) -> dict[str, Any]:
    """What a run's files say: its command, its machine, and its log in short."""
    described = json.loads((run / "run.json").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    frozen = described["config"]["f_frozen"]
    scored = [line for line in lines if line.get("val")]
    return {
        "name": run.name,
        "config": _unlike_defaults(described["config"]),
        "start": described["start"]["weights"],
        "versions": described["versions"],
        "device": described["device"],
        "seconds": lines[-1]["seconds"],
        "losses": {
            line["step"]: {name: round(value, 4) for name, value in line["losses"].items()}
            for line in lines
            if "losses" in line
        },
        "judged": next(line["losses"] for line in lines if line["step"] == frozen),
        "scores": {
            line["step"]: {
                "iou": round(line["val"]["per_dataset"]["iou"], 4),
                "accuracy": round(line["val"]["per_dataset"]["accuracy"], 4),
                "label_free": round(line["label_free"], 4),
                "object": round(1 - line["region_sizes"][0], 3),
            }
            for line in scored
            if line["step"] >= frozen
        },
    }


def _unlike_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, with names for places."""
    given = {name: value for name, value in options.items() if value != DEFAULTS.get(name)}
    places = {"data": [Path(place).name for place in options["data"]], "start": Path(options["start"]).name}
    return given | places | {"out": Path(options["out"]).name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [row(run) for run in options.runs]
    for one in rows:
        scores = [f"{score['iou']:.3f} ({score['label_free']:.2f})" for score in one["scores"].values()]
        print(f"{one['name']:32} L_D {one['judged']['L_D']:.3f}  IoU (label-free): {', '.join(scores)}")
    if options.json is not None:
        options.json.write_text("[\n" + ",\n".join(json.dumps(one) for one in rows) + "\n]\n")


if __name__ == "__main__":
    main()
