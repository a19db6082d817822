"""What a server takes on at most, and the one way to say no."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

from redoseg.config.checks import Config
from redoseg.config.markers import Bound, at_least
from redoseg.cores import usable_cores

T = TypeVar("T")
_CLIENTS = 10_000  # whose rates are known; those that were not heard of for longest are forgotten


_PILLOWS = 178  # million pixels, beyond which Pillow itself opens no photo
_PIXELS = Bound(f"it must be from 1 to {_PILLOWS}", lambda value: 1 <= value <= _PILLOWS)


class Refusal(Exception):
    """A request that isn't done: the status of HTTP, and one line that says why. `retry_after`: seconds after
    which it may be asked again."""

    def __init__(self, status: int, text: str, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.retry_after = status, text, retry_after


@dataclass(frozen=True)
class Limits(Config):
    """What is taken on at most."""

    megabytes: Annotated[int, at_least(1)] = 32
    """A photo's file may have so many."""
    megapixels: Annotated[int, _PIXELS] = 50
    """A photo may have so many."""
    queue: Annotated[int, at_least(0)] = 32
    """Requests that wait while others are being worked on. Further ones are told to come again (503)."""
    rate: Annotated[int, at_least(0)] = 50
    """Requests a second of one client, twice as many at once; further ones are told to come again (429).
    0: as many as come."""
    photos: Annotated[int, at_least(1)] = 2_000
    """Photos that one page may have at a time; they lie in the system's folder for temporary files."""
    albums: Annotated[int, at_least(1)] = 20
    """Pages that may have photos at a time. Those of a page that isn't heard of for an hour are removed;
    after five minutes, if another page finds no room."""
    gigabytes: Annotated[int, at_least(1)] = 10
    """The photos of all pages together may have so many."""

    @property
    def bytes(self) -> int:
        return self.megabytes << 20

    @property
    def pixels(self) -> int:
        return self.megapixels * 1_000_000


class Desk:
    """Threads that work, and a bounded number of requests that wait for one of them."""

    def __init__(self, queue: int, workers: int | None = None) -> None:
        self.workers = workers or min(4, usable_cores())
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="segment")
        self._free = self.workers + queue

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue for the length of the block, which begins before a photo is received: so what
        waits fits into memory. Refusal (503) if there is none."""
        if self._free <= 0:
            raise Refusal(503, "too many photos are waiting: ask again in a second", retry_after=1)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in one of the threads. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Finish what has been begun."""
        self._pool.shutdown(cancel_futures=True)


class Rates:
    """How many requests each client has left: `rate` a second are added, up to twice that."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> requests left, when

    def count(self, client: str) -> None:
        """Take one request of a client. Refusal (429) if none is left."""
        if not self._rate:
            return
        now, most = self._clock(), 2.0 * self._rate
        left, then = self._left.pop(client, (most, now))
        left = min(most, left + self._rate * (now - then))
        enough = left >= 1
        self._left[client] = (left - 1 if enough else left, now)  # who is refused can wait for the next one
        while len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        if not enough:
            raise Refusal(429, f"more than {self._rate} requests a second: ask again later", retry_after=1)
