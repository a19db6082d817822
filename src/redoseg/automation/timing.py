"""How long a step of learning takes on this machine."""

import time
from collections.abc import Callable

TRIED = 3  # steps that are timed


def seconds_each(step: Callable[[int], object], check_finite: Callable[[int], None]) -> float:
    """Seconds of a step `step(t)`, a mean over TRIED. `check_finite` waits for the device."""
    step(0)  # the first one is slower
    began = time.perf_counter()
    for t in range(1, 1 + TRIED):
        step(t)
    check_finite(1)
    return (time.perf_counter() - began) / TRIED
