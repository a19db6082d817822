"""An experiment of `redoseg reproduce` as it goes into results/: its files, and the small files of its runs.

    python experiments/keep.py runs/reproduce table1-small --into results/reproduce
    python experiments/keep.py runs/reproduce --runs lfw/base --into results/reproduce

Paths of the machine become relative to OUT or lose their folders; figures keep five digits, pictures 128
colours.
"""

import argparse
import json
from pathlib import Path
from shutil import copyfile
from typing import Any

from PIL import Image


def keep_experiment(folder: Path, into: Path) -> None:
    """result.json, table.md, figure.png."""
    into.mkdir(parents=True, exist_ok=True)
    copyfile(folder / "table.md", into / "table.md")
    result = rounded(json.loads((folder / "result.json").read_text()))
    (into / "result.json").write_text(packed(result))
    with Image.open(folder / "figure.png") as picture:
        few = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(into / "figure.png", optimize=True)


def rounded(value: Any) -> Any:
    """The same with five digits in every figure."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: rounded(inside) for name, inside in value.items()}
    return [rounded(inside) for inside in value] if isinstance(value, list) else value


def packed(value: Any) -> str:
    """As JSON on a line, without spaces: a checkout holds many."""
    return json.dumps(value, separators=(",", ":")) + "\n"


def keep_run(run: Path, out: Path, into: Path) -> None:
    """run.json without paths, and metrics.jsonl."""
    into.mkdir(parents=True, exist_ok=True)
    described = json.loads((run / "run.json").read_text())
    config = described["config"]
    labelled = Path(config.get("labelled") or "")
    config |= {
        "data": [Path(source).name for source in config["data"]],
        "out": f"runs/reproduce/{run.relative_to(out)}",
        "cache": None,
        "mnist": config["mnist"] and Path(config["mnist"]).name,
        "labelled": str(labelled.relative_to(out))
        if labelled.is_relative_to(out)
        else config.get("labelled"),
    }
    if "supervision" in described and "source" in described["supervision"]:
        described["supervision"]["source"] = described["supervision"]["source"].replace(f"{out}/", "")
    text = json.dumps(described, indent=2) + "\n"
    if str(out.resolve()) in text:
        raise SystemExit(f"{run}: a path of this machine is left in run.json")
    (into / "run.json").write_text(text)
    lines = (rounded(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines())
    (into / "metrics.jsonl").write_text("".join(packed(line) for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="--out of redoseg reproduce")
    parser.add_argument("experiments", nargs="*", help="folders of results in it, such as table1-small")
    parser.add_argument("--runs", nargs="+", default=[], metavar="SET/ARM")
    parser.add_argument("--scale", default="small")
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args()
    for name in options.experiments:
        keep_experiment(options.out / name, options.into / name)
    for name in options.runs:
        for run in sorted((options.out / "runs" / options.scale / name).glob("seed-*")):
            keep_run(run, options.out, options.into / "runs" / options.scale / name / run.name)


if __name__ == "__main__":
    main()
