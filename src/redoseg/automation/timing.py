"""How long a step of learning takes on this machine, and how long all that is left."""

import time
from collections.abc import Callable, Collection

from redoseg.automation.folder import Plan
from redoseg.automation.named import GAME

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
    """What the plan says of the rest, at the pace of the students that were trained from beginning to end in
    this sitting."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._planned = self._took = 0.0  # minutes

    def took(self, name: str, minutes: float) -> None:
        """So many minutes for a student, from beginning to end. A game says nothing of the pace: it is
        another kind of work, and may begin anew."""
        if name != GAME:
            self._planned += self._plan.parts.get(name, 0.0)
            self._took += minutes

    def text(self, trained: Collection[str]) -> str:
        """To go after what comes next, with the names of all students that are `trained`. Empty if the plan
        knows nothing of its parts."""
        if not self._plan.parts:
            return ""
        ahead = self._plan.minutes - sum(self._plan.parts.get(name, 0.0) for name in trained)
        minutes = round(ahead * (self._took / self._planned if self._planned else 1.0))
        return f"; about {minutes} minutes left" if minutes > 1 else "; about a minute left"
