"""What one corrected mask is worth: `redoseg fix` with 0 to 50 true masks in the place of a person's.

    python experiments/fix.py SET OUT --kind butterflies|faces [--counts 0 5 10 20 50] --json FILE

SET is a packed set whose split `val` has masks. `auto` learns from 300 photos of the split `train` and from a
pool of others of `val`, without a mask. Then the masks of some photos of the pool are corrected, that is to
say replaced by the truth: those with the most doubt, or others by chance; `fix` trains on, and is scored on
photos of `val` outside of the pool. With 0 it is a further student without any correction. Masks as written.
"""

import argparse
import csv
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import redoseg
from redoseg.config import DistillConfig
from redoseg.data.folder import scan
from redoseg.distillation.distill import distill
from redoseg.distillation.fix import options_like
from redoseg.files import read_json, write_json
from redoseg.models.run_folder import RunFolder

TRAINED, POOL, SCORED = 300, {"butterflies": 60, "faces": 150}, 400


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", choices=[*POOL], required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[0, 5, 10, 20, 50])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    photos, pool, scored = divide(options.set, options.out / "data", POOL[options.kind])
    run = options.out / "auto"
    redoseg.auto(redoseg.AutoConfig(data=(str(photos),), out=run, threads=1))
    with open(run / "photos.csv", newline="") as table:
        doubts = {Path(row["photo"]).stem: float(row["doubt"]) for row in csv.DictReader(table)}
    names = sorted(path.stem for path in pool.iterdir())
    orders = {
        "most doubt": sorted(names, key=lambda name: -doubts[name]),
        "by chance": random.Random(0).sample(names, len(names)),
    }
    rows: list[dict[str, Any]] = [{"corrected": None, "chosen": "the run itself", **score(run, scored)}]
    for count in options.counts:
        for chosen, order in orders.items():
            if not count and chosen != "most doubt":
                continue
            out = options.out / (f"{chosen.replace(' ', '-')}-{count}" if count else "0")
            train_on(run, [pool / f"{name}.png" for name in order[:count]], out, options.steps)
            rows.append({"corrected": count, "chosen": chosen if count else "none", **score(out, scored)})
            print(rows[-1], flush=True)
            if options.json is not None:
                write_json(options.json, {
                    "set": options.set.name, "photos": TRAINED + len(names), "scored": count_of(scored),
                    "steps": options.steps, "plan": read_json(run / "auto.json")["plan"], "rows": rows,
                })  # fmt: skip


def train_on(run: Path, masks: list[Path], out: Path, steps: int) -> None:
    if not masks:
        given = options_like(RunFolder(run)) | {"steps": steps, "eval_every": steps, "threads": 1}
        distill(DistillConfig(run=run, out=out, **given))
        return
    with tempfile.TemporaryDirectory() as folder:
        for mask in masks:
            shutil.copy(mask, folder)
        redoseg.fix(run, [folder], out, steps=steps, eval_every=steps, threads=1)


def score(run: Path, data: Path) -> dict[str, float]:
    found = redoseg.evaluate(run, data, device="cpu").as_dict()
    return {"iou": found["as_written"]["iou"], "network": found["per_dataset"]["iou"]}


def count_of(data: Path) -> int:
    return len([*(data / "masks").iterdir()])


def divide(archive: Path, out: Path, pooled: int) -> tuple[Path, Path, Path]:
    """A folder of photos to learn from, one of the masks of the pool among them, and a set to score on."""
    photos, pool, scored = out / "photos", out / "pool", out / "scored"
    if out.exists():
        return photos, pool, scored
    listing = scan(archive)
    images, draw = {ref.name: ref for ref in listing.images}, random.Random(0)
    of_split = {
        split: [name for name in images if listing.splits[name] == split] for split in ("train", "val")
    }
    train = draw.sample(of_split["train"], TRAINED)
    val = [name for name in of_split["val"] if name in listing.masks]
    val = draw.sample(val, min(len(val), pooled + SCORED))
    places = [(photos, images, name) for name in (*train, *val[:pooled])]
    places += [(pool, listing.masks, name) for name in val[:pooled]]
    places += [(scored / "images", images, name) for name in val[pooled:]]
    places += [(scored / "masks", listing.masks, name) for name in val[pooled:]]
    for folder, known, name in places:
        folder.mkdir(parents=True, exist_ok=True)
        with known[name].open() as file:
            (folder / f"{name.replace('/', '_')}{known[name].suffix}").write_bytes(file.read())
    return photos, pool, scored


if __name__ == "__main__":
    main()
