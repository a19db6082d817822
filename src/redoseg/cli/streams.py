"""`-` as a photo and as --out: standard input and output by way of files."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from redoseg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from redoseg.segmentation.written import SegmentReport, WrittenMask

_NAME = "stdin"  # of the photo from standard input: its mask is OUT/stdin.png


@dataclass(frozen=True)
class Streams:
    """`inputs` and `out` as files; `writes`: the picture in `out` goes to standard output at the end."""

    inputs: tuple[str, ...]
    out: Path
    writes: bool
    _photo: str

    def naming(self, each: Callable[["WrittenMask"], object]) -> Callable[["WrittenMask"], object]:
        """`each`, told that the photo from standard input is called `-`."""
        return lambda mask: each(replace(mask, photo="-") if mask.photo == self._photo else mask)

    def named(self, report: "SegmentReport") -> "SegmentReport":
        """The report, with the photo from standard input named so."""
        if not self._photo:
            return report
        shown = "standard input"
        failed = [
            (shown if name == self._photo else name, reason.replace(self._photo, shown))
            for name, reason in report.failed
        ]
        return replace(report, failed=failed)


@contextmanager
def through_files(inputs: Sequence[str], out: Path, *, one_type: bool, shared: bool) -> Iterator[Streams]:
    """In this context, files for what is `-` among `inputs` and `out`; the picture is written at its end, if
    there was no error. ConfigError for what can't go together: several photos or types to one output, and
    `shared` work, of machines that don't see this one's files. DataError if there is nothing to read."""
    reads, writes = "-" in inputs, str(out) == "-"
    if not (reads or writes):
        yield Streams(tuple(inputs), out, False, "")
        return
    if shared:
        raise ConfigError(
            "--ray shares files, not standard input or output: give a photo's name and a folder"
        )
    if writes and (len(inputs) != 1 or not one_type or Path(inputs[0]).is_dir()):
        raise ConfigError("--out - takes one photo and one --type: give a folder for more")
    with TemporaryDirectory(prefix="redoseg-") as made:
        folder = Path(made).resolve()
        photo = folder / _NAME
        if reads:
            photo.write_bytes(sys.stdin.buffer.read())
            if not photo.stat().st_size:
                raise DataError("there is no photo on standard input")
        files = tuple(str(photo) if one == "-" else one for one in inputs)
        yield Streams(files, folder / "out" if writes else out, writes, str(photo))
        if writes:
            pictures = sorted((folder / "out").rglob("*.png"))
            if len(pictures) > 1:
                raise ConfigError(f"--out - takes one photo, {inputs[0]} has {len(pictures)}: give a folder")
            for picture in pictures:
                sys.stdout.buffer.write(picture.read_bytes())
                sys.stdout.buffer.flush()
