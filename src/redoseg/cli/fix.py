"""The action fix: corrected masks, and the rest of a run's own, teach a better student."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from redoseg.cli.terminal import Device, errors
from redoseg.cli.train import trained


def fix(
    run: tyro.conf.Positional[Path],
    /,
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    masks: tuple[Path, ...] = (),
    ticks: Path | None = None,
    data: tuple[str, ...] = (),
    corrected_share: float | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    device: Device = "auto",
    threads: int | None = None,
) -> int:
    """Train on with masks that you have corrected (SEMI-SUPERVISED): they count fully, the rest by votes.

    Args:
        run: A run's folder, such as that of `redoseg auto`.
        out: Folder of the better student. If it holds one already, with the same options, that is continued.
        masks: What was corrected: folders or archives of mask files (0 and 255, or numbers of regions), COCO
            files, folders of labelme's. Masks have the names of their photos. Those that are as redoseg wrote
            them count as not corrected.
        ticks: The list that the page of `redoseg report` has saved: wrong masks that aren't corrected are
            left out, right ones are kept.
        data: Where RUN's photos lie now. Not given: where they lay when it was trained.
        corrected_share: Share of the images learned from that corrected ones make up at least. None: 0.25.
        steps: Updates. None: as RUN, if that is a student, else 600.
        minutes: Stop after so many minutes. None: steps decide.
        seed: Decides everything that is random. None: as RUN.
        threads: CPU threads. None: PyTorch's choice.
    """
    given: dict[str, Any] = {
        "corrected_share": corrected_share, "steps": steps, "minutes": minutes, "seed": seed,
        "threads": threads,
    }  # fmt: skip
    options = {name: value for name, value in given.items() if value is not None} | {"device": device}

    def run_it() -> Path:
        from redoseg.distillation.fix import fix as train_on

        return train_on(run, masks, out, ticks=ticks, data=data, console=errors, **options)

    code = trained(run_it, out)
    if code == 0:
        _say_before(run)
    return code


def _say_before(run: Path) -> None:
    """The verdict on the run that was trained on, to compare with."""
    from redoseg.models.run_folder import RunFolder
    from redoseg.reporting.run_part import verdict_of

    verdict = verdict_of(RunFolder(run))
    if verdict is not None:
        print(f"{run} had:   {verdict.text}")
