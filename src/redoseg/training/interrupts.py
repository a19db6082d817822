"""Delays Ctrl-C until the training loop can save its state."""

import signal
from types import FrameType
from typing import Self

from redoseg.training.distributed import is_distributed


class Interrupts:
    """A context in which Ctrl-C and SIGTERM only set `asked`; a second one ends the program at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        numbers = (signal.SIGINT, signal.SIGTERM)
        try:
            self._handlers = {number: signal.signal(number, self._handle) for number in numbers}
        except ValueError:  # only the main thread gets signals, and this is another
            self._handlers = {}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not is_distributed():  # else torchrun's SIGTERM would cut off the error
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
