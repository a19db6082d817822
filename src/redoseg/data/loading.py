"""Opens and decodes any image with Pillow: its errors become one line, and damaged notes cost no pixels."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from redoseg.data.formats import HEAD, HEIC, NO_HEIC, UNREADABLE, pillow_formats, reads_heic, sniff
from redoseg.data.repair import has_damaged_pixels, is_filled_up, without_notes
from redoseg.errors import DataError

_AT_ONCE = 50_000_000  # pixels that all threads together decode at once; one takes 12 bytes at worst


class Budget:
    """An amount that threads share: each waits until enough is left, or until no other has any."""

    def __init__(self, amount: int) -> None:
        self._amount = amount
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, part: int) -> Iterator[None]:
        """Take a part for the length of a `with` block."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + part <= self._amount)
            self._taken += part
        try:
            yield
        finally:
            with self._changed:
                self._taken -= part
                self._changed.notify_all()


_pixels = Budget(_AT_ONCE)


@contextmanager
def loading(
    file: BinaryIO | Path, at_least: int | None = None
) -> Iterator[tuple[Image.Image, tuple[int, int]]]:
    """For a `with` block: the decoded image, of any mode and not turned, and its width and height in the
    file. Whatever Pillow raises about it, here or in the block, becomes a DataError."""
    with ExitStack() as stack:
        try:
            yield _load(stack, file, at_least)
        except UNREADABLE as error:
            raise DataError(_describe_error(error, file)) from error


def _load(
    stack: ExitStack, file: BinaryIO | Path, at_least: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    """The image as `loading` gives it; one whose notes can't be read is read without them."""
    try:
        return _load_as_it_is(stack, file, at_least)
    except UNREADABLE as error:
        if isinstance(error, MemoryError | Image.DecompressionBombError):
            raise
        try:
            contents = without_notes(_content(file))
            shown = {_digest_pixels(content) for content in contents}
        except UNREADABLE:
            raise error from None
        if len(shown) != 1:
            raise
        return _load_as_it_is(stack, BytesIO(contents[0]), at_least)


def _digest_pixels(content: bytes) -> bytes:
    """A number of the pixels at full size, of which nothing is kept."""
    with ExitStack() as stack:
        image, _ = _load_as_it_is(stack, BytesIO(content), None)
        return hashlib.blake2b(image.tobytes()).digest()


def _load_as_it_is(
    stack: ExitStack, file: BinaryIO | Path, at_least: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    with ExitStack() as attempt:
        image = attempt.enter_context(Image.open(file, formats=pillow_formats()))
        size = image.size
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        attempt.enter_context(_pixels.take(image.width * image.height))
        image.load()
        if image.format == "PNG" and has_damaged_pixels(_content(file)):  # Pillow doesn't look
            raise DataError("its pixels are damaged: a checksum is wrong")
        if image.format in ("JPEG", "MPO") and is_filled_up(_tail(file)) and is_filled_up(_content(file)):
            raise OSError("image file is truncated, and filled up with zeros")
        stack.push(attempt.pop_all())
        return image, size


def _content(file: BinaryIO | Path) -> bytes:
    if isinstance(file, Path):
        return file.read_bytes()
    file.seek(0)
    return file.read()


def _tail(file: BinaryIO | Path) -> bytes:
    """The last bytes of a file."""
    if isinstance(file, Path):
        with open(file, "rb") as opened:
            return _tail(opened)
    file.seek(-min(16, file.seek(0, 2)), 2)
    return file.read()


def _describe_error(error: BaseException, file: BinaryIO | Path) -> str:
    if isinstance(error, UnidentifiedImageError):
        head = _content(file)[:HEAD]
        if sniff(head) == HEIC and not reads_heic():
            return NO_HEIC
        return "not an image, or damaged from its first bytes on" if head else "empty: it has no bytes"
    if isinstance(error, MemoryError):
        return "too large for this machine's memory"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels: make it smaller first"
    return " ".join(str(error).split()) or type(error).__name__
