"""Delays Ctrl-C until the training loop can save its state."""

import signal
from types import FrameType
from typing import Self

from redoseg.training.distributed import is_distributed

# The terminal was closed, or the connection to it lost. Windows has no such signal.
_HANGUP = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []


class Interrupts:
    """A context in which Ctrl-C, SIGTERM and SIGHUP only set `asked`; a second one ends the program."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        # nohup has SIGHUP ignored, and that is what it is for
        hangup = [number for number in _HANGUP if signal.getsignal(number) != signal.SIG_IGN]
        numbers = [signal.SIGINT, signal.SIGTERM, *hangup]
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
