"""How often does the game find the object, on few photos and on many, cold and warm? One attempt a seed.

    python experiments/games.py pack DATA PACKED
    python experiments/games.py run PACKED --games flowers-300:cold flowers:cold --seeds 0 1 2 --into RUNS
    python experiments/games.py run PACKED --games flowers-300:warm --starts MODELS --into RUNS
    python experiments/games.py report RUNS --score PACKED --json FILE

`pack` makes archives of the sets of benchmarks/folders.py: the photos (of whole sets re-encoded at 64 px, to
pass on), and `val` with its masks, for scores alone. `run` plays SET:ARM for each seed, `--jobs` at a time,
and goes on where it was stopped; a warm one begins with MODELS/SET, a student of `auto` as `redoseg export
--hub-folder` leaves it. `report` prints a row a game and keeps their curves.
"""

import argparse
import csv
import io
import json
import os
import runpy
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image
from study import lines

import redoseg
from redoseg.data.folder import scan
from redoseg.data.image_ref import ImageRef
from redoseg.files import read_json, write_json

SETS = {"butterflies": "butterflies128", "faces": "lfw128", "flowers": "flowers64"}
FEW, SIDE = "-300", 64
Options = dict[str, Any]

LARGE: Options = {"size": 64, "steps": 3_000}
"""As `auto --starts game` plays on a GPU, but for 3,000 steps, not 5,000."""
SMALL: Options = {"size": 32, "width": 16, "g_width": 16, "f_width": 8, "steps": 2_500}
"""As it does on a CPU, but for 2,500 steps, unless --steps says otherwise."""
WARM: Options = {
    "size": 64, "f_width": 8, "f_blocks": 4, "f_frozen": 1_000, "lr_f": 5e-5, "lr_f_warmup": 100,
    "f_jitter": 0.3, "steps": 2_000, "eval_every": 200,
}  # fmt: skip
"""f begins as a student that has found the object (docs/method.md)."""
ARMS: dict[str, Options] = {
    "cold": LARGE,
    "cold-32": SMALL,
    # D sees all images in other colours, moved, and with a square cut out (DiffAugment)
    "augmented": LARGE | {"diffaugment": "all"},
    "augmented-32": SMALL | {"diffaugment": "all"},
    "colour": LARGE | {"diffaugment": "colour"},
    # ... and what is redrawn lies elsewhere
    "shift": LARGE | {"diffaugment": "all", "shift": 0.125},
    "warm": WARM,
}
COMMON: Options = {"eval_every": 500, "sample_every": 2_500, "save_every": 500, "max_restarts": 0}


def pack(data: Path, packed: Path) -> None:
    """PACKED/SET.tar and PACKED/SET-300.tar, and in PACKED/photos the folders that the latter are made of."""
    photos = packed / "photos"
    folders = runpy.run_path(str(Path(__file__).resolve().parents[1] / "benchmarks" / "folders.py"))
    folders["make_folders"](data, photos)
    for name, archive in SETS.items():
        listing = scan(data / f"{archive}.tar")
        images = {ref.name: ref for ref in listing.images}
        scored = [
            (f"{kind}/{_flat(stem)}{Path(ref.entry.path).suffix}", _read(ref))
            for stem, mask in listing.masks.items()
            if listing.splits[stem] == "val"
            for kind, ref in (("images", images[stem]), ("masks", mask))
        ]
        few = [
            (f"images/{file.name}", file.read_bytes()) for file in sorted((photos / f"{name}{FEW}").iterdir())
        ]
        many = [
            (f"images/{_flat(stem)}.webp", _small(_read(ref)))
            for stem, ref in images.items()
            if listing.splits[stem] == "train"
        ]
        _write(packed / f"{name}{FEW}.tar", scored, few)
        _write(packed / f"{name}.tar", scored, many)


def _read(ref: ImageRef) -> bytes:
    with ref.open() as opened:
        return opened.read()


def _write(archive: Path, scored: list[tuple[str, bytes]], learned: list[tuple[str, bytes]]) -> None:
    table = io.StringIO()
    splits = {Path(name).stem: "val" for name, _ in scored} | {
        Path(name).stem: "train" for name, _ in learned
    }
    csv.writer(table).writerows([("name", "split"), *splits.items()])
    with tarfile.open(archive, "w") as tar:
        for name, content in [*scored, *learned, ("splits.csv", table.getvalue().encode())]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _flat(stem: str) -> str:
    return stem.replace("/", "_")


def _small(content: bytes) -> bytes:
    picture = Image.open(io.BytesIO(content)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    picture.save(written, "WEBP", quality=85)
    return written.getvalue()


def command(game: str, seed: int, asked: argparse.Namespace) -> list[str]:
    """`redoseg train` for a SET:ARM."""
    name, arm = game.split(":")
    options = COMMON | ARMS[arm] | {"seed": seed, "device": asked.device, "threads": 1}
    if asked.steps:
        options["steps"] = asked.steps
    if arm == "warm":
        options["start"] = asked.starts / name
    words = [sys.executable, "-m", "redoseg", "train", str(asked.packed / f"{name}.tar")]
    words += ["--out", str(asked.into / name / arm / f"seed-{seed}")]
    for option, value in options.items():
        words += [f"--{option.replace('_', '-')}", str(value)]
    return words


def run(options: argparse.Namespace) -> None:
    """All games that haven't ended, in this order, until `--seconds` are over."""
    until = time.monotonic() + options.seconds

    def play(job: tuple[str, int]) -> None:
        words = command(*job, options)
        out = Path(words[words.index("--out") + 1])
        left = until - time.monotonic()
        if left < 5 or ended(out):
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(out.parent / f"{out.name}.log", "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                words, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
            try:
                process.wait(left)
            except subprocess.TimeoutExpired:
                process.terminate()  # it saves what it has
                process.wait()
        print(f"{job[0]} seed {job[1]}: {process.returncode}", flush=True)

    known = {f"{name}{few}:{arm}" for name in SETS for few in ("", FEW) for arm in ARMS}
    if unknown := set(options.games) - known:
        raise SystemExit(f"no such games: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    jobs = [(game, seed) for game in options.games for seed in options.seeds]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(play, jobs))


def ended(run: Path) -> bool:
    """Whether a game is finished or has lost its object."""
    return (run / "verdict.json").exists() or any(line.get("event") == "collapse" for line in lines(run))


def row(run: Path) -> dict[str, Any]:
    """A game in short. chosen: of a cold one, the checkpoint of the highest label-free score. object: the
    share of the photos that is the object's region, as in the log."""
    described, noted = read_json(run / "run.json"), list(lines(run))
    scored = [line for line in noted if line.get("val") and line["step"] >= described["config"]["f_frozen"]]
    lost = next((line for line in noted if line.get("event") == "collapse"), None)
    verdict = run / "verdict.json"
    curve = {
        str(line["step"]): {
            "iou": round(line["val"]["per_dataset"]["iou"], 4),
            "label_free": round(line["label_free"], 4),
            "object": round(1 - line["region_sizes"][0], 3),
        }
        for line in scored
    }
    cold = described["config"]["start"] is None
    return {
        "game": f"{run.parents[1].name}:{run.parent.name}", "seed": described["config"]["seed"],
        "device": described["device"], "versions": described["versions"],
        "data": described["data"]["fingerprint"],
        "steps": max((line["step"] for line in noted), default=0),
        "seconds": round(max((line["seconds"] for line in noted), default=0)),
        "lost": lost and {name: lost[name] for name in ("step", "reason")},
        "verdict": read_json(verdict) if verdict.exists() else None,
        "chosen": max(curve, key=lambda step: curve[step]["label_free"], default=None) if cold else None,
        "curve": curve,
    }  # fmt: skip


def scores(run: Path, chosen: str, packed: Path) -> dict[str, dict[str, float]]:
    """IoU and accuracy of the chosen checkpoint, kept in the run's folder: of its masks as `redoseg segment`
    writes them, of the network alone, and of the trivial rows."""
    kept = run / "score.json"
    if not kept.exists() or read_json(kept)["checkpoint"]["step"] != int(chosen):
        archive = packed / f"{run.parents[1].name}.tar"
        write_json(kept, redoseg.evaluate(run, archive, checkpoint=chosen, device="cpu").as_dict())
    found = read_json(kept)
    kinds = ("as_written", "per_dataset", "fixed_mask", "disc")
    return {kind: {name: round(found[kind][name], 4) for name in ("iou", "accuracy")} for kind in kinds}


def report(options: argparse.Namespace) -> None:
    rows = []
    for file in sorted(file for runs in options.runs for file in runs.glob("*/*/seed-*/run.json")):
        one = row(file.parent)
        if options.score and one["chosen"]:
            one["scores"] = scores(file.parent, one["chosen"], options.score)
        if one["curve"] or one["lost"]:  # else it has just begun
            rows.append(one)
    for one in rows:
        ious = " ".join(f"{at['iou']:.3f}" for at in one["curve"].values())
        end = (
            f"lost at {one['lost']['step']}"
            if one["lost"]
            else (one["verdict"] or {}).get("verdict", "stopped")
        )
        written = f"{one['scores']['as_written']['iou']:.3f}" if "scores" in one else ""
        print(f"{one['game']:28} {one['seed']}  {end:14} chosen {one['chosen']}  {written:5}  {ious}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text("[\n" + ",\n".join(json.dumps(one) for one in rows) + "\n]\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("data", type=Path)
    packing.add_argument("packed", type=Path)
    packing.set_defaults(do=lambda options: pack(options.data, options.packed))
    playing = commands.add_parser("run")
    playing.add_argument("packed", type=Path)
    playing.add_argument("--games", nargs="+", required=True, metavar="SET:ARM")
    playing.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    playing.add_argument("--starts", type=Path, help="folder of models, by name of the set")
    playing.add_argument("--steps", type=int)
    playing.add_argument("--jobs", type=int, default=1)
    playing.add_argument("--seconds", type=float, default=float("inf"))
    playing.add_argument("--device", default="auto")
    playing.add_argument("--into", type=Path, required=True)
    playing.set_defaults(do=run)
    reporting = commands.add_parser("report")
    reporting.add_argument("runs", nargs="+", type=Path)
    reporting.add_argument("--score", type=Path, metavar="PACKED", help="score chosen checkpoints, too")
    reporting.add_argument("--json", type=Path)
    reporting.set_defaults(do=report)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
