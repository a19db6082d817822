"""Shows that `kill -9` at any moment costs nothing, whichever verb is at work.

    python scripts/kill_verbs.py [--kills 1000] [--seed 0] [--only VERB ...] [--json FILE]

Each verb works once undisturbed. Then it works again into a folder of the same name, killed with SIGKILL at
random moments and begun anew until it ends, and every file is compared: tensors bit for bit, pictures, masks
and tables byte for byte, logs and descriptions but for times. This is repeated, now with one verb, now with
another, until so many kills have struck. After each kill the photos must be as they were. Sittings are
forked, so that none has to import PyTorch again. Exit code 0 if nothing differs, else 1. Linux only.
"""

import argparse
import dataclasses
import hashlib
import io
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from kill_test import file_differences, folder_differences
from PIL import Image

from redoseg.automation import auto
from redoseg.automation.folder import Plan
from redoseg.automation.plan import student_options
from redoseg.cli import main as redoseg
from redoseg.distillation.distill import distill  # noqa: F401 - imported here, sittings needn't
from redoseg.files import read_json, write_json
from redoseg.training.train import train  # noqa: F401

TIMES = ("minutes", "seconds", "verdict_seconds")
TRAIN = (
    "--size 32 --width 4 --g-width 4 --f-width 4 --f-blocks 1 --code-size 4 --batch 4 --steps 8 --device cpu "
    "--eval-every 3 --sample-every 4 --save-every 2 --collapse-every 1 --collapse-below 0 "
    "--collapse-variation 0"
)
DISTIL = "--size 32 --f-width 4 --f-blocks 1 --batch 8 --steps 6 --save-every 2 --rounds 2 --device cpu"
PLAN = Plan({"disc": "first:disc", "clusters": "first:clusters"}, 20, 4, 6, 2, 4, 1.0)


@dataclass
class Tally:
    """Of one verb: kills that struck, times that it was carried to its end, and differences found."""

    kills: int = 0
    ended: int = 0
    differences: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="how many in all")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--only", nargs="*", choices=lines(Path()), help="these verbs (all)")
    parser.add_argument("--json", type=Path, help="a file for the counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="redoseg-kills-") as folder:
        tallies = kill_all(Path(folder), options)
    for verb, tally in tallies.items():
        print(f"{verb}: {tally.kills} kills, ended {tally.ended} times, {len(tally.differences)} differences")
    return int(any(tally.differences for tally in tallies.values()))


def kill_all(folder: Path, options: argparse.Namespace) -> dict[str, Tally]:
    """What became of each verb; after every end of one, the counts so far are written to --json."""
    only, chance = options.only, random.Random(options.seed)
    make_photos(folder / "photos")
    verbs = {verb: line for verb, line in lines(folder).items() if not only or verb in ("train", *only)}
    for verb, line in verbs.items():
        finish(line)  # the first time takes longer than later ones: its seconds don't count
        (folder / "unbroken").mkdir(exist_ok=True)
        (folder / "work" / verb).rename(folder / "unbroken" / verb)
    tallies = {verb: Tally() for verb in verbs if not only or verb in only}
    seconds = {verb: finish(verbs[verb]) for verb in tallies}
    for verb in tallies:
        print(f"{verb}: {seconds[verb]:.1f} s undisturbed", flush=True)
        compare(folder, verb, tallies[verb])
    while sum(tally.kills for tally in tallies.values()) < options.kills:
        verb = min(tallies, key=lambda verb: tallies[verb].kills * seconds[verb])  # as much time for each
        carry_through(folder, verbs[verb], seconds[verb], chance, tallies[verb])
        compare(folder, verb, tallies[verb])
        print(f"{verb}: {tallies[verb].kills} kills, ended {tallies[verb].ended} times", flush=True)
        if options.json is not None:
            counts = {verb: dataclasses.asdict(tally) for verb, tally in tallies.items()}
            write_json(options.json, {"seed": options.seed, "verbs": counts})
    return tallies


def compare(folder: Path, verb: str, tally: Tally) -> None:
    """What the verb has made with the undisturbed one's files; then it is removed."""
    for difference in differences(folder / "unbroken" / verb, folder / "work" / verb):
        tally.differences.append(difference)
        print(f"DIFFERENT: {verb}: {difference}", flush=True)
    shutil.rmtree(folder / "work" / verb)


def lines(folder: Path) -> dict[str, list[str]]:
    """A command line for each verb. Those after `auto` need the undisturbed run of `train`."""
    photos, run = str(folder / "photos"), str(folder / "unbroken" / "train")
    work, cache = folder / "work", ["--cache", str(folder / "cache")]
    distil = [*DISTIL.split(), *cache]
    asked = ["--type", "mask", "cutout", "--annotations", "coco", "labelme"]
    asked += ["--csv", str(work / "segment" / "masks.csv")]
    return {
        "train": ["train", photos, "--out", str(work / "train"), *TRAIN.split(), *cache],
        "auto": ["auto", photos, "--out", str(work / "auto"), "--threads", "1", "--device", "cpu", *cache],
        "distill": ["distill", run, "--out", str(work / "distill"), "--data", photos, *distil],
        "segment": ["segment", run, photos, "--out", str(work / "segment"), *asked],
        "ray": ["segment", run, photos, "--out", str(work / "ray"), "--ray", "local"],
    }


def finish(line: list[str]) -> float:
    """Let a verb work undisturbed; the seconds that it took."""
    begun = time.monotonic()
    process = sitting(line)
    process.join()
    if process.exitcode:
        sys.exit(f"FAILED: {' '.join(line)} ended with {process.exitcode}")
    return time.monotonic() - begun


def carry_through(folder: Path, line: list[str], seconds: float, chance: random.Random, tally: Tally) -> None:
    """The verb to its end, killed some times on its way."""
    photos = fingerprint(folder / "photos")
    for _ in range(chance.randint(1, 12)):
        process = sitting(line)
        process.join(chance.uniform(0, 0.8 * seconds))  # later ones have less to do
        if process.exitcode is not None:
            if process.exitcode:
                tally.differences.append(f"a sitting ended with {process.exitcode}")
            break
        process.kill()
        process.join()
        tally.kills += 1
        if fingerprint(folder / "photos") != photos:
            tally.differences.append("a photo has changed")
    finish(line)
    tally.ended += 1


Context = Callable[[], AbstractContextManager[object]]


def sitting(line: list[str], said: Path | None = None, around: Context = nullcontext) -> BaseProcess:
    """The command line at work in a process of its own, in the context `around`, its words kept in `said`."""
    process = multiprocessing.get_context("fork").Process(target=_sit, args=(line, said, around))
    process.start()
    return process


def _sit(line: list[str], said: Path | None, around: Context) -> None:
    words, code = io.StringIO(), 70
    small = student_options() | {"f_width": 4, "f_blocks": 1}
    with (
        mock.patch.object(auto, "make_plan", return_value=PLAN),  # few steps, the same ones on any machine
        mock.patch.object(auto, "student_options", return_value=small),
        redirect_stdout(words),
        redirect_stderr(words),
    ):
        try:
            with around():
                code = redoseg(line)
        except BaseException:  # noqa: BLE001 - a traceback is what is looked for
            traceback.print_exc()
    if said is not None:
        said.write_text(words.getvalue())
    elif code:
        print(words.getvalue(), file=sys.stderr)
    os._exit(code)


def make_photos(folder: Path) -> None:
    """Bright squares on plain ground, of several sizes."""
    chance = np.random.default_rng(0)
    folder.mkdir()
    for index in range(24):
        height, width = chance.integers(40, 90, 2)
        picture = np.empty((height, width, 3), np.uint8)
        picture[:] = chance.integers(40, 150, 3)
        y, x = height // 4, width // 4
        picture[y : 3 * y, x : 3 * x] = chance.integers(180, 255, 3)
        Image.fromarray(picture).save(folder / f"{index:02}.png")


def fingerprint(folder: Path) -> str:
    """Of names and contents."""
    whole = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        whole.update(file.name.encode() + file.read_bytes())
    return whole.hexdigest()


def differences(one: Path, other: Path) -> Iterator[str]:
    """Each difference between two folders in a line."""
    return folder_differences(one, other, _compared)


def _compared(one: Path, other: Path) -> Iterator[str]:
    if one.name == ".redoseg-written":  # a file written twice may be noted twice, and half a line is none
        if not {*one.read_text().splitlines()} <= {*other.read_text().splitlines()}:
            yield "its lines"
    elif one.suffix == ".json":
        if json_without_times(one) != json_without_times(other):
            yield "its content"
    else:
        yield from file_differences(one, other)


def json_without_times(file: Path) -> Any:
    def without(content: Any) -> Any:
        if isinstance(content, dict):
            return {key: without(value) for key, value in content.items() if key not in TIMES}
        return [without(value) for value in content] if isinstance(content, list) else content

    return without(read_json(file))


if __name__ == "__main__":
    sys.exit(main())
