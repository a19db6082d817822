"""What every refusal has in common."""

from collections.abc import Callable, Iterator
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


def refused_command(command: Callable[..., tuple[int, str, str]], said: str, *arguments: object) -> None:
    """The command fails with one line that has these words, and with nothing on its output."""
    code, output, error = command(*arguments)
    assert (code, output) == (1, "")
    assert error.splitlines()[-1].startswith("redoseg: ")
    assert "Traceback" not in error
    assert said in error.splitlines()[-1]
