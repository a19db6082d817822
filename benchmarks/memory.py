"""Memory while a long task goes on, sampled every second to CSV: seconds, photos done, resident MB.

    python benchmarks/memory.py segmenting MODEL PHOTO... --count 50000 --csv FILE

`segmenting`: masks for so many photos, hard links to the few that are named.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter


def resident() -> float:
    """MB of memory that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def sampled(file: Path, done: list[int]) -> Iterator[None]:
    """Write a line every second; `done` holds the number of photos done."""
    over, began = threading.Event(), time.monotonic()

    def sample() -> None:
        with file.open("w", encoding="utf-8") as lines:
            lines.write("seconds,done,resident_mb\n")
            while not over.wait(1):
                lines.write(f"{time.monotonic() - began:.1f},{done[0]},{resident():.1f}\n")
                lines.flush()

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def segmenting(options: argparse.Namespace) -> None:
    done = [0]

    def heard(count: int, _: int) -> None:
        done[0] = count

    with tempfile.TemporaryDirectory() as name, sampled(options.csv, done):
        photos = Path(name) / "photos"
        for k in range(options.count):
            photo = options.photos[k % len(options.photos)]
            link = photos / f"{k // 1000:03d}" / f"{k:06d}{photo.suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(photo)
        segmenter = Segmenter.from_pretrained(options.model, device="cpu")
        report = segment_files(segmenter, [photos], Path(name) / "masks", progress=heard)
        print(f"{report.written} masks, {len(report.failed)} failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    task = tasks.add_parser("segmenting")
    task.add_argument("model")
    task.add_argument("photos", nargs="+", type=Path)
    task.add_argument("--count", type=int, default=50_000)
    task.add_argument("--csv", type=Path, required=True)
    task.set_defaults(run=segmenting)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
