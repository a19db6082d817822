"""How long a step of learning takes on this machine, and how long all that is left."""

import time
from collections.abc import Callable, Collection

from redoseg.automation.folder import Plan

TRIED = 3  # steps that are timed


def seconds_each(step: Callable[[int], object], check_finite: Callable[[int], None]) -> float:
    """Seconds of a step `step(t)`, a mean over TRIED. `check_finite` waits for the device."""
    step(0)  # the first one is slower
    began = time.perf_counter()
    for t in range(1, 1 + TRIED):
        step(t)
    check_finite(1)
    return (time.perf_counter() - began) / TRIED


class TimeLeft:
    """What the plan says of the rest, at the pace of what was done since this object was made."""

    def __init__(self, plan: Plan, trained: Collection[str]) -> None:
        """`trained`: names of the students that were trained before."""
        self._plan, self._before = plan, [*trained]
        self._began = time.monotonic()

    def text(self, trained: Collection[str]) -> str:
        """To go after what comes next, with the names of all students that are `trained`. Empty if the plan
        knows nothing of its parts."""
        parts = self._plan.parts
        if not parts:
            return ""
        done = sum(parts.get(name, 0.0) for name in trained if name not in self._before)
        ahead = self._plan.minutes - sum(parts.get(name, 0.0) for name in trained)
        pace = (time.monotonic() - self._began) / 60 / done if done else 1.0
        minutes = round(pace * ahead)
        return f"; about {minutes} minutes left" if minutes > 1 else "; about a minute left"
