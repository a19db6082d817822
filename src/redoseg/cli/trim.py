"""The action trim: photos without the frames around them."""

from pathlib import Path

import tyro

from redoseg.cli.early import check_data
from redoseg.cli.terminal import print_failed, progress_of


def trim(photos: tyro.conf.Positional[str], /, out: Path) -> int:
    """Cut frames of one colour off photos (scans, catalogues, films), before `auto` or `train` learn them.

    Args:
        photos: A folder or archive of photos, without masks.
        out: New folder for the photos: those without a frame are copied as they are.
    """
    check_data([photos])
    from redoseg.data.frames import trim_photos

    with progress_of("looking for frames") as show:
        done = trim_photos(photos, out, progress=show)
    print_failed(done.failed)
    failed = f"; {len(done.failed)} could not be read, they are named above" if done.failed else ""
    left_out = f", {done.left_out} other files left out" if done.left_out else ""
    print(
        f"{done.trimmed} photos without their frames and {done.copied} as they are in {out}{left_out}{failed}"
    )
    return 1 if done.failed else 0
