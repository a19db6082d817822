"""The verb auto: photos in, and out come a model of their object, masks, cut-outs, and whether to trust them.

Nobody says what the object is. Several first labels, each wrong in its own way, teach a small student each.
The one whose masks look most like an object's teaches the next one with its refined masks, and so on as long
as that helps. No mask takes part in learning or in a choice; where photos have masks, logs have scores.
"""

import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from redoseg.automation.consensus import with_consensus
from redoseg.automation.folder import AutoFolder, Found, Plan
from redoseg.automation.game import game_config, play
from redoseg.automation.looking import check_enough, look_at, look_for_frames, open_photos
from redoseg.automation.masks import write_masks, write_report
from redoseg.automation.named import GAME, named_starts, placed_starts, round_name
from redoseg.automation.page import masks_page
from redoseg.automation.plan import make_plan, student_options
from redoseg.automation.timing import TimeLeft
from redoseg.automation.trimming import without_frames
from redoseg.config import DistillConfig
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import Dataset
from redoseg.distillation.distill import distill
from redoseg.distillation.rounds import keep_student, verdict_of
from redoseg.errors import CollapseError, DataError, DivergenceError, named_reason
from redoseg.files import asides, read_json, remove, write_aside, write_json
from redoseg.label_free.verdict import SURE
from redoseg.models.card import supervision_text
from redoseg.models.run_folder import RunFolder
from redoseg.models.shipped import ROOT
from redoseg.segmentation.plan import list_photos, plan_jobs
from redoseg.segmentation.segmenter import Segmenter
from redoseg.tensors import limit_threads, pick_device
from redoseg.training.log import say, say_loudly
from redoseg.version import __version__


def auto(config: AutoConfig, *, console: Console | None = None) -> Found:
    """Find the object in a folder of photos; leave a model, masks, cut-outs, a table, a page and a verdict in
    `config.out`. Called again after it was stopped, it goes on, and ends as if it had not been.

    Raises DataError for photos that can't be read or are fewer than 20, ConfigError for a folder that holds
    something else or was begun with other options, and what `distill` raises.
    """
    folder, console = AutoFolder(config.out), console or Console(stderr=True)
    limit_threads(config.threads)
    folder.check(config)
    with _said_once():
        return _auto(config, folder, console)


@contextmanager
def _said_once() -> Iterator[None]:
    """In this context a warning about the photos is given once, although each student opens them anew."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in said
        said.add(text)
        return new

    log = logging.getLogger("redoseg.data")
    log.addFilter(is_new)
    try:
        yield
    finally:
        log.removeFilter(is_new)


def _auto(config: AutoConfig, folder: AutoFolder, console: Console) -> Found:
    jobs, without, _ = plan_jobs(config.data, folder.masks.resolve(), folder.cutouts.resolve())
    if without:
        raise DataError(named_reason(*without[0]))
    with folder.run.locked():
        remove(asides(folder.path))  # of a sitting that was killed: nobody else writes here
        photos = open_photos(config, console)
        report = _begun(folder, photos, console)
        if report is not None and "verdict" in report:
            say(console, f"{folder.path} is finished: nothing is made anew")
            return Found.from_json(report)
        check_enough(len(photos.split("train")))
        learned = without_frames(config, folder, photos, console)
        if report is None:
            report = {"redoseg": __version__, "config": config.as_json()} | _begin(learned, photos, console)
            write_json(folder.report, report)
        students = _teach(learned, folder, report, console)
        kept = max(students, key=lambda name: students[name])
        say(console, f"{kept} is the best by label-free score, steadiness and sure share: it is kept")
        _keep(folder, kept, students)
        segmenter = Segmenter.from_pretrained(folder.path, device=config.device)
        masks, failed = write_masks(segmenter, config, folder, jobs, console)
        refs = {job.name: job.ref for job in jobs}
        if masks:
            write_aside(folder.page, lambda aside: masks_page(masks, refs).save(aside, "PNG"))
        sure = sum(mask.doubt <= SURE for mask in masks) / max(1, len(masks))
        framed = report["framed"] if "framed" in report else look_for_frames(list(refs.values()))
        verdict = replace(verdict_of(folder.run), sure=sure, framed=framed)
        plan = Plan.from_json(report["plan"])
        verdict = with_consensus(verdict, learned, folder, plan, students, kept)
        found = Found(students, kept, len(masks), failed, verdict)
        if masks:
            write_report(segmenter, config, folder, masks, jobs, found.verdict, console)
        write_json(folder.report, report | found.as_json() | _masks_read(folder, console))
    return found


def _masks_read(folder: AutoFolder, console: Console) -> dict[str, Any]:
    """For auto.json: which masks were read for the start that the model comes from; said loudly, if any."""
    read = read_json(folder.run.description).get("supervision")
    text = supervision_text(read)
    if text is None:
        return {}
    said = f"NOT UNSUPERVISED: masks were read for the start of this model ({text})"
    say_loudly(console, said)
    return {"supervision": read}


def _begun(folder: AutoFolder, photos: Dataset, console: Console) -> dict[str, Any] | None:
    """What auto.json says of a folder that was begun with these photos; None of a new one. DataError for
    other photos."""
    begun = folder.read()
    if begun is None:
        return None
    if not photos.is_the_one(begun["data"]["fingerprint"]):
        raise DataError(
            f"the photos have changed since {folder.path} was begun: bring back the same ones, or use "
            f"another --out (`redoseg segment {folder.path} PHOTOS` makes masks of others)"
        )
    if "verdict" not in begun:
        say(console, f"going on with {folder.path}: {len(begun['students'])} students are trained")
    return begun


def _begin(config: AutoConfig, photos: Dataset, console: Console) -> dict[str, Any]:
    """What auto.json says of the photos and the plan. The `data` of these options is what is learned, which
    may be copies of the `photos` without frames."""
    learned = open_photos(config, console) if config.trim else photos
    count = len(learned.split("train"))
    framed = look_at(count, list_photos(config.data)[0], console, trimmed=config.trim)
    with console.status("timing this machine"):
        plan = make_plan(config, learned, pick_device(config.device))
    say(
        console,
        f"{count} photos: about {max(1, round(plan.minutes))} minutes here. Stopped at any time, the "
        "same command goes on",
    )
    return {"data": photos.describe(), "plan": plan.as_json(), "students": {}, "framed": framed}


def _teach(
    config: AutoConfig, folder: AutoFolder, report: dict[str, Any], console: Console
) -> dict[str, float]:
    """Train the students that aren't yet; `Verdict.worth` of all, in the order of their training."""
    plan = Plan.from_json(report["plan"])
    scores = {name: _worth(folder, name, noted) for name, noted in report["students"].items()}
    starts, gone = placed_starts(plan.starts | named_starts(config.starts), scores)
    if gone:
        say(console, f"left out: {', '.join(gone)}, which came with another version of redoseg")
    plan = replace(plan, starts=starts)
    most, left = len(plan.starts) + plan.rounds - 1, TimeLeft(plan)

    def student(name: str, teacher: str | Path, **options: Any) -> None:
        if name not in scores:
            say(console, f"student {len(scores) + 1} of {most} at most{left.text(scores)}")
            new, since = not folder.student(name).exists(), time.monotonic()
            scores[name] = _student(config, folder, plan, name, Path(teacher), options, console)
            if new and scores[name] >= 0:
                left.took(name, (time.monotonic() - since) / 60)
            write_json(folder.report, report | {"students": scores})

    for name, teacher in plan.starts.items():
        taught_by = folder.game if name == GAME else teacher
        student(name, taught_by, images=plan.first_images, steps=plan.first_steps, doubtful=0.3)
    last = max(plan.starts, key=lambda name: scores[name])
    if scores[last] < 0:
        raise DivergenceError(
            f"no student could be trained: try another --seed, and another --out than {folder.path}"
        )
    for number in range(2, 1 + plan.rounds):
        name = round_name(number)
        student(name, folder.student(last), steps=plan.steps, doubtful=0.2, squares=plan.squares)
        if scores[name] <= scores[last]:
            break
        last = name
    return scores


def _student(
    config: AutoConfig,
    folder: AutoFolder,
    plan: Plan,
    name: str,
    teacher: Path,
    options: dict[str, Any],
    console: Console,
) -> float:
    """Train one student, and first the game that teaches it, or go on with it; its `Verdict.worth`, -1 if the
    game kept losing a region or a loss became infinite."""
    out, steps = folder.student(name), options["steps"]
    given = student_options() | options | {
        "size": config.size, "seed": config.seed, "device": config.device, "threads": config.threads,
        "cache": config.cache, "batch": plan.batch, "eval_every": steps, "save_every": 100, "log_every": 100,
    }  # fmt: skip
    try:
        if name == GAME:
            game = game_config(config, plan.game_steps, plan.batch, plan.diffaugment)
            size = f"{game.size} pixels, {plan.game_steps} steps"
            say(console, f"{name}: the game of the paper, {size}, in {teacher}")
            given["checkpoint"] = play(game, console)
        chosen = teacher.parent == ROOT and not config.starts
        shipped = " (it comes with redoseg, and its masks look plausible here)" * chosen
        say(console, f"{name}: a student of {teacher.name}{shipped}, {steps} steps")
        distill(DistillConfig(run=teacher, out=out, data=config.data, **given), console=console)
    except (CollapseError, DivergenceError) as error:
        why = f"it has not kept two regions, its log is in {folder.game}" if name == GAME else str(error)
        say(console, f"{name} failed: {why}")
        return -1.0
    verdict = verdict_of(RunFolder(out))
    parts = f"label-free score {verdict.score:.3f}, {verdict.sure:.0%} of its masks are sure"
    say(console, f"{name}: {parts}, steadiness {verdict.steady:.2f}, together {verdict.worth:.3f}")
    return verdict.worth


def _worth(folder: AutoFolder, name: str, noted: float) -> float:
    """`Verdict.worth` of a student that is trained: an earlier version noted its score alone."""
    return noted if noted < 0 else verdict_of(RunFolder(folder.student(name))).worth


def _keep(folder: AutoFolder, kept: str, students: Iterable[str]) -> None:
    """Make the kept student the run in RUN, and drop the targets of all, which no one needs any more."""
    if not folder.run.exists:
        keep_student(RunFolder(folder.student(kept)), folder.run)
    for targets in (folder.run.targets, *(RunFolder(folder.student(name)).targets for name in students)):
        shutil.rmtree(targets, ignore_errors=True)
