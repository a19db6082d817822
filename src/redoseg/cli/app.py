"""The command `redoseg`: which action, and what becomes of an error."""

import io
import os
import sys
from collections.abc import Callable, Sequence

from redoseg.cli.auto import auto
from redoseg.cli.baseline import baseline
from redoseg.cli.data import data
from redoseg.cli.distill import distill
from redoseg.cli.doctor import doctor
from redoseg.cli.evaluate import evaluate
from redoseg.cli.export import export
from redoseg.cli.fix import fix
from redoseg.cli.models import models
from redoseg.cli.redraw import redraw
from redoseg.cli.report import report
from redoseg.cli.reproduce import reproduce
from redoseg.cli.segment import segment
from redoseg.cli.serve import serve
from redoseg.cli.terminal import interrupts_noted, lines_on_stderr, was_interrupted
from redoseg.cli.train import demo, resume, train_command
from redoseg.cli.trim import trim
from redoseg.cli.usage import parse
from redoseg.errors import ElsewhereError, RedosegError, missing_extra
from redoseg.version import __version__

_CUT_OFF = (ImportError, AttributeError, NameError, RuntimeError, SystemError)
"""What libraries raise instead of KeyboardInterrupt where Ctrl-C comes in the middle of their import: the
first two were seen. Without Ctrl-C they are passed on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 all went well, 1 an error (one line), 2 bad usage, 130 Ctrl-C."""
    _never_stumble_over_letters()
    arguments = [_written_out(word) for word in (sys.argv[1:] if argv is None else argv)]
    with interrupts_noted(), lines_on_stderr() as to_be_known:
        try:
            code, trouble = _main(arguments)
        except _CUT_OFF:
            if not was_interrupted():
                raise
            code, trouble = 1, ""
        if code and was_interrupted():
            code, trouble = 130, ""
        if code not in (0, 1) or trouble:
            to_be_known.clear()
    if trouble:
        print(f"redoseg: {' '.join(trouble.split())}", file=sys.stderr)
    return code


def _main(arguments: Sequence[str]) -> tuple[int, str]:
    """The exit code, and what has gone wrong, if it isn't said yet."""
    if arguments in (["--version"], ["-V"]):
        print(f"redoseg {__version__}")
        return 0, ""
    try:
        done = parse(_commands(arguments), arguments)()
        sys.stdout.flush()
        return int(done or 0), ""
    except ElsewhereError:
        return 1, ""
    except RedosegError as error:
        return 1, str(error)
    except KeyboardInterrupt:
        return 130, ""
    except ModuleNotFoundError as error:
        missing = missing_extra(f"redoseg {arguments[0]}", error)
        if missing is None:
            raise
        return 1, str(missing)
    except BrokenPipeError:  # `redoseg ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # lest the exit flushes once more
        return 1, ""
    except OSError as error:  # a folder that can't be written, a full disk
        return 1, f"{error.filename or 'the system'}: {error.strerror or error}"
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        return 1, "out of memory: lower --batch, --size, --width or --g-width"


def _never_stumble_over_letters() -> None:
    """A path that the terminal's encoding lacks letters for is printed with escapes instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _written_out(word: str) -> str:
    """`--out=~/run` with the home folder for `~`, which a shell replaces at the start of a word only."""
    if word.startswith("~"):
        return os.path.expanduser(word)
    option, equals, value = word.partition("=")
    if option.startswith("--") and equals and value.startswith("~"):
        return f"{option}={os.path.expanduser(value)}"
    return word


def _commands(arguments: Sequence[str]) -> Sequence[Callable[..., int]]:
    train = train_command(arguments)
    on_models = (auto, train, resume, distill, evaluate, segment, report, serve, fix, redraw, export, models)
    return (*on_models, trim, data, baseline, reproduce, demo, doctor)


def _out_of_memory(error: BaseException) -> bool:
    said = str(error).lower()
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "out of memory" in said or "can't allocate memory" in said


if __name__ == "__main__":
    sys.exit(main())
