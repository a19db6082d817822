"""What the choice without labels costs: the chosen first student against the best one, by the masks of `val`.

    python experiments/choice.py results/folders

Of every folder on record with masks: its beginnings, and its first labels alone. Products are compared as
`Verdict.worth` does, with steadiness once, with its square, and twice below other levels than .65.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redoseg.files import read_json
from redoseg.label_free.verdict import Verdict

FIRST_LABELS = {"boxes", "clusters", "saliency"}
Worth = Callable[[Verdict], float]


def once(verdict: Verdict) -> float:
    return verdict.score * (verdict.steady or 0) * verdict.sure**0.5


def below(level: float) -> Worth:
    """Steadiness counts twice below this level."""
    return lambda verdict: once(verdict) * min(1, (verdict.steady or 0) / level)


RULES: dict[str, Worth] = {
    "as it is": lambda verdict: verdict.worth,
    "steadiness once": once,
    "its square": below(1),
    **{f"twice below {level}": below(level) for level in (0.55, 0.6, 0.62, 0.65, 0.68, 0.7)},
}


def pools(folder: Path) -> dict[str, dict[str, tuple[Verdict, float]]]:
    """The verdict on each first student and its IoU, masks as written; each pool once."""
    found: dict[str, dict[str, tuple[Verdict, float]]] = {}
    for file in sorted(folder.glob("*.json")):
        record: Any = read_json(file)
        if not {"students_verdicts", "students_as_written"} <= {*record}:
            continue
        students = {
            name: (Verdict.from_json(record["students_verdicts"][name]), scores["iou"])
            for name, scores in record["students_as_written"].items()
            if not name.startswith("round-")
        }
        for name, pool in (
            (file.stem, students),
            (f"{file.stem}, first labels", {k: v for k, v in students.items() if k in FIRST_LABELS}),
        ):
            if pool not in found.values():
                found[name] = pool
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of what benchmarks/folders.py kept")
    found = pools(parser.parse_args().folder)
    if not found:
        parser.error("that folder holds no record of a folder with masks")
    print(f"{len(found)} pools; the best first student less the chosen one: mean, most (where)")
    for rule, worth in RULES.items():
        costs = {
            name: max(iou for _, iou in pool.values()) - max(pool.values(), key=lambda one: worth(one[0]))[1]
            for name, pool in found.items()
        }
        worst = max(costs, key=lambda name: costs[name])
        mean = sum(costs.values()) / len(costs)
        print(f"{rule:18} {mean:.3f}  {costs[worst]:.3f} ({worst})")


if __name__ == "__main__":
    main()
