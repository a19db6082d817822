"""Shows what faults of a machine do to each verb: nothing is lost, and later it ends as always.

    python scripts/fault_test.py [--only FAULT ...] [--json FILE]

Faults: `full` a disk (tmpfs) that is too small, at eight sizes, until it is made larger; `read-only` a disk
that can't be written, before the work and in the middle of it; `memory` a limit at which the kernel kills
(cgroup), then none; `clock` set back by a day between sittings, and forward; `slow` renames, with kills;
`two` at once into one folder. Clock and renames are imitated within the process, the others are real. Each
sitting under a fault has to end by itself, with 0 or with 1 and one line, unless it is killed. In the end
all files are compared with those of an undisturbed run (`kill_verbs.differences`). Linux, as root: disks
are mounted. Exit code 0 if all is well.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import torch
from kill_verbs import Context, differences, lines, make_photos, sitting

from redoseg.files import write_json

DISK = 24_000  # kilobytes, more than any verb needs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=FAULTS, default=[*FAULTS], help="these faults (all)")
    parser.add_argument("--json", type=Path, help="a file for what was seen")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if "memory" in options.only:
        own_group()  # or say at once that there is none
    seen: dict[str, dict[str, dict[str, list[str]]]] = {}
    with tempfile.TemporaryDirectory(prefix="redoseg-faults-") as made:
        folder = Path(made)
        make_photos(folder / "photos")
        verbs = lines(folder)
        del verbs["ray"]  # its processes have folders of their own, beyond the faults made here
        for verb, line in verbs.items():
            assert sit(line) == "0", verb
            (folder / "unbroken").mkdir(exist_ok=True)
            (folder / "work" / verb).rename(folder / "unbroken" / verb)
        for fault in options.only:
            for verb, line in verbs.items():
                told = FAULTS[fault](folder / "work", line)
                found = list(differences(folder / "unbroken" / verb, folder / "work" / verb))
                seen.setdefault(fault, {})[verb] = {"sittings": told, "differences": found}
                print(f"{fault:9} {verb:8} {told} differences: {found}", flush=True)
                shutil.rmtree(folder / "work" / verb)
    if options.json is not None:
        write_json(options.json, seen)
    return int(not all(is_fine(result) for verbs_seen in seen.values() for result in verbs_seen.values()))


def is_fine(result: dict[str, list[str]]) -> bool:
    return not result["differences"] and all(told in FINE for told in result["sittings"])


def sit(line: list[str], around: Context = nullcontext, seconds: float | None = None) -> str:
    """One sitting, killed after so many seconds: "killed", or what `outcome` says of it."""
    with tempfile.NamedTemporaryFile("r") as said:
        process = sitting(line, Path(said.name), around)
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            return "killed"
        return outcome(process.exitcode, said.read())


def outcome(code: int, words: str) -> str:
    """ "0", "-9" for one that the kernel has killed, "1 a line" for one that said why in one line; else words
    that don't pass as fine."""
    why = [line for line in words.splitlines() if line.startswith("redoseg: ")]
    if code <= 0:
        return str(code)
    if "Traceback" in words or len(why) != 1:
        print(words, flush=True)
        return f"{code}, and {'a traceback' if 'Traceback' in words else f'{len(why)} lines'}"
    return f"{code} a line"


FINE = ("0", "-9", "killed", "1 a line")


@contextmanager
def disk(work: Path, kilobytes: int) -> Iterator[Callable[[str], None]]:
    """A tmpfs at `work`, and what gives it other options; what was written stays in `work` afterwards."""
    work.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", work], check=True)

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", work], check=True)

    kept = Path(tempfile.mkdtemp(dir=work.parent))
    try:
        yield remount
        shutil.copytree(work, kept, dirs_exist_ok=True, symlinks=True)
    finally:
        subprocess.run(["umount", work], check=True)
    shutil.copytree(kept, work, dirs_exist_ok=True, symlinks=True)
    shutil.rmtree(kept)


def full(work: Path, line: list[str]) -> list[str]:
    needed = sum(file.stat().st_size for file in (work.parent / "unbroken" / line[0]).rglob("*")) // 1024
    with disk(work, 4) as remount:
        told = []
        for size in (4, *(max(8, needed * part // 8) for part in range(1, 8))):
            remount(f"size={size}k")
            told.append(sit(line))
        remount(f"size={DISK}k")
        return [*told, sit(line)]


def read_only(work: Path, line: list[str]) -> list[str]:
    with disk(work, DISK) as remount:
        remount("ro")
        told = [sit(line)]
        remount("rw")
        told.append(sit(line, seconds=1.0))
        remount("ro")
        told.append(sit(line))
        remount("rw")
        return [*told, sit(line)]


def clock(work: Path, line: list[str]) -> list[str]:
    """Imitated: Python's `time.time` tells another day."""
    real = time.time

    def shifted(days: int) -> Context:
        return lambda: mock.patch("time.time", lambda: real() + 86400 * days)  # noqa: PT008

    told = [sit(line, shifted(days), seconds=1.0) for days in (0, -1, 1, -30)]
    return [*told, sit(line, shifted(-1))]


def slow(work: Path, line: list[str]) -> list[str]:
    """Imitated: `os.replace` takes 10 to 60 ms, as on a network. Killed twelve times."""
    chance, rename = random.Random(0), os.replace

    def late(*paths: str) -> None:
        time.sleep(chance.uniform(0.01, 0.06))
        rename(*paths)

    def patched() -> AbstractContextManager[object]:
        return mock.patch("os.replace", late)

    return [*(sit(line, patched, chance.uniform(0.2, 4.0)) for _ in range(12)), sit(line, patched)]


def two(work: Path, line: list[str]) -> list[str]:
    with tempfile.NamedTemporaryFile("r") as one, tempfile.NamedTemporaryFile("r") as other:
        processes = [(sitting(line, Path(said.name)), said) for said in (one, other)]
        told = []
        for process, said in processes:
            process.join()
            told.append(outcome(process.exitcode or 0, said.read()))
    return [*told, sit(line)]


def memory(work: Path, line: list[str]) -> list[str]:
    """At 20 MB more than what it has at its start the kernel kills it."""
    group = Path("/sys/fs/cgroup/memory") / own_group() / f"redoseg-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(20 << 20))

        @contextmanager
        def limited() -> Iterator[None]:
            (group / "cgroup.procs").write_text(str(os.getpid()))
            yield

        told = [sit(line, limited) for _ in range(3)]
    finally:
        group.rmdir()
    return [*told, sit(line)]


def own_group() -> str:
    for entry in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = entry.split(":", 2)
        if "memory" in kinds.split(","):
            return path.lstrip("/")
    sys.exit("no cgroup for memory here: leave `memory` out with --only")


FAULTS: dict[str, Callable[[Path, list[str]], list[str]]] = {
    "full": full, "read-only": read_only, "memory": memory, "clock": clock, "slow": slow, "two": two,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
