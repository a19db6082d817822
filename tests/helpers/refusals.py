"""What every refusal has in common."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from redoseg.errors import RedosegError


@contextmanager
def refusal(
    kind: type[RedosegError], match: str | None = None
) -> Iterator[pytest.ExceptionInfo[RedosegError]]:
    """`pytest.raises` of such an error, whose message matches `match` and is one line."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    message = str(caught.value)
    assert message
    assert "\n" not in message
