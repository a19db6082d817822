"""The command `redoseg data`: lists, downloads or checks the paper's data sets."""

import shlex
import sys
from pathlib import Path
from typing import Literal

import tyro

from redoseg.cli.terminal import errors, output
from redoseg.data.download.catalogue import SETS, DownloadableSet
from redoseg.errors import ConfigError, DataError


def data(
    action: tyro.conf.Positional[Literal["list", "download", "check"]] = "list",
    name: tyro.conf.Positional[str] = "",
    /,
    root: Path = Path("data"),
) -> int:
    """List the paper's data sets, fetch one (flowers, lfw, cub, flowers+lfw, mnist), say what it lacks.

    Args:
        action: `list` them; `download` NAME; `check` what is missing of NAME.
        name: The set.
        root: Folder of all sets: NAME's is ROOT/NAME.
    """
    if action == "list":
        if name:
            raise ConfigError(f"`redoseg data list` takes no name: redoseg data download {name}")
        return _print_sets()
    found = SETS.get(name)
    if found is None:
        raise ConfigError(
            f"{name or 'no name given'}: there is no such data set; there are {', '.join(SETS)}"
        )
    failures = _download(found, root) if action == "download" else []
    return _report(found, root, failures)


def _print_sets() -> int:
    from rich.table import Table

    table = Table()
    for column in ("name", "images", "download", "what for"):
        table.add_column(column, justify="right" if column in ("images", "download") else "left")
    for found in SETS.values():
        table.add_row(found.name, f"{found.images:,}", _format_size(found), found.used_for)
    output.print(table)
    print(*map(_describe, SETS.values()), sep="\n")
    print("fetch one:          redoseg data download NAME --root DIR")
    print("say what it lacks:  redoseg data check NAME --root DIR")
    return 0


def _describe(found: DownloadableSet) -> str:
    """What a table has no room for: the set, its home page, its terms, its splits."""
    home = f"\n  {found.home}" if found.home else ""
    return f"{found.name}: {found.what}{home}\n  terms: {found.terms}\n  splits: {found.splits}"


def _format_size(found: DownloadableSet) -> str:
    """The size of all files, in MB; "> " before it if some file's size isn't known."""
    files = [file for part in _parts(found) for file in part.files]
    total = sum(file.size or 0 for file in files) / 1e6
    more = "> " if None in (file.size for file in files) else ""
    return f"{more}{total:,.0f} MB"


def _parts(found: DownloadableSet) -> list[DownloadableSet]:
    return [SETS[part] for part in found.parts] or [found]


def _download(found: DownloadableSet, root: Path) -> list[str]:
    from redoseg.data.download.download import download
    from redoseg.data.download.fetch import Fetcher

    errors.print(f"{found.name}: {found.terms}", markup=False, highlight=False, soft_wrap=True)
    try:
        return [line for part in _parts(found) for line in download(part, root, Fetcher(errors))]
    except KeyboardInterrupt:
        print("\nstopped; run the same again: what is complete is kept", file=sys.stderr)
        raise


def _report(found: DownloadableSet, root: Path, failures: list[str]) -> int:
    """Print what failed and what is missing, or how to train; the exit code is 0 if the set is complete."""
    for line in failures:
        print(f"redoseg: {' '.join(line.split())}", file=sys.stderr)
    lacking = [line for part in _parts(found) for line in _find_missing(part, root / part.name)]
    if lacking:
        print(*lacking, sep="\n")
        return 1
    print(f"{found.name}: complete")
    words = (shlex.quote(word.format(root if found.parts else root / found.name)) for word in found.words)
    print(f"train with:  redoseg train {' '.join(words)} --out runs/{found.name}")
    return 0


def _find_missing(found: DownloadableSet, folder: Path) -> list[str]:
    """A line for each thing that is missing or broken in the set's folder."""
    from redoseg.data.mnist import load, missing_files
    from redoseg.data.native.sources import find_missing

    if found.name != "mnist":
        return find_missing(found.name, folder)
    lost = [f"{folder / name}.gz is missing" for name in missing_files(folder)]
    try:
        if not lost:
            load(folder)
    except DataError as error:
        return [str(error)]
    return lost
