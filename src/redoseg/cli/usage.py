"""What is said of a command line that can't be read: which option, and whose help to ask for."""

import contextlib
import difflib
import functools
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from redoseg.cli.complaints import one_line

_BOX = str.maketrans(dict.fromkeys("╭╮╰╯│─|+", " "))
_UNKNOWN = re.compile(r"Unrecognized options: (.+?) *(?:-{4,}|Perhaps you meant|For full)")

SEVERAL = ("--annotations", "--data", "--masks", "--sets", "--starts", "--type")
"""Options that take one value or more; tyro would take none, too, and nobody would know."""

Commands = Sequence[Callable[..., int]]


def parse(commands: Commands, arguments: Sequence[str]) -> Callable[[], int]:
    """What the command line asks for, to be called. SystemExit with 0 after help, with 2 once it is said what
    is wrong."""
    empty = _empty(arguments)
    if empty is not None:
        print(f"redoseg: {empty} has no value: give it one, or leave it out", file=sys.stderr)
        raise SystemExit(2)
    complaint = _Complaint()
    try:
        with contextlib.redirect_stderr(complaint):
            return _parsed(commands, arguments)
    except SystemExit:
        text = complaint.getvalue()
        unknown = _UNKNOWN.search(_plain(text))
        if unknown and arguments:
            text = f"redoseg: {_say_unknown(commands, arguments[0], unknown[1].split(', '))}\n"
        elif arguments:
            line = one_line(text, arguments[0])
            text = _with_own_help(text, arguments[0]) if line is None else f"redoseg: {line}\n"
        sys.stderr.write(text)
        raise


def _empty(arguments: Sequence[str]) -> str | None:
    """The first option that wants a value and has none before the next option, or the end; none where help is
    asked for."""
    if {"-h", "--help"} & {*arguments}:
        return None
    for word, after in zip(arguments, [*arguments[1:], "--"], strict=False):
        if word in SEVERAL and re.match("-[a-z-]", after):
            return word
    return None


class _Complaint(io.StringIO):
    """What would be printed, as it would be printed: in colours on a terminal."""

    def isatty(self) -> bool:
        return sys.__stderr__ is not None and sys.__stderr__.isatty()


def _parsed(commands: Commands, arguments: Sequence[str]) -> Callable[[], int]:
    app = tyro.extras.SubcommandApp()
    for command in commands:
        app.command(_deferred(command))
    called: Callable[[], int] = app.cli(
        args=arguments,
        prog="redoseg",
        description="Learn to segment the object in a collection of images without a single mask.",
    )
    return called


def _deferred(command: Callable[..., int]) -> Callable[..., Callable[[], int]]:
    @functools.wraps(command)
    def later(*given: Any, **named: Any) -> Callable[[], int]:
        return functools.partial(command, *given, **named)

    return later


def _say_unknown(commands: Commands, command: str, unknown: Sequence[str]) -> str:
    """One line about the first of the words that nothing could be made of."""
    names = [one.__name__ for one in commands]
    if command not in names:
        return f"there is no command {command}{_nearest(command, names)}: `redoseg --help` lists them"
    cure = f"`redoseg {command} --help` lists what it takes"
    option = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
    if option is None:
        return f"{command} can't take {unknown[0]}: {cure}"
    return f"{command} has no option {option}{_nearest(option, _flags(commands, command))}: {cure}"


def _nearest(word: str, known: Sequence[str]) -> str:
    """Which of the known words may be meant, as a part of a sentence; "" if none is like it."""
    nearest = difflib.get_close_matches(word, known, 1)
    return f", the nearest is {nearest[0]}" if nearest else ""


def _flags(commands: Commands, command: str) -> list[str]:
    """The options of a command, from its help."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        _parsed(commands, [command, "--help"])
    starts = re.findall(r"^[│|\s]*((?:--?[\w-]+, )*--[\w-]+)", shown.getvalue(), re.MULTILINE)
    return [flag for start in starts for flag in start.split(", ")]


def _with_own_help(text: str, command: str) -> str:
    """The text with a pointer to the command's own help, where its box has room for it."""
    more = f" {command}"
    return re.sub(rf"redoseg( --help) {{{len(more)}}}", rf"redoseg{more}\1", text)


def _plain(text: str) -> str:
    """Without colours, boxes and line breaks."""
    return " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).translate(_BOX).split())
