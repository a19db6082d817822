"""Ctrl-C that waits for a good moment."""

import signal
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """Within, Ctrl-C and SIGTERM only set `asked`; a second one ends the program at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        numbers = (signal.SIGINT, signal.SIGTERM)
        try:
            self._before = {number: signal.signal(number, self._note) for number in numbers}
        except ValueError:  # not the main thread: signals go elsewhere
            self._before = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
