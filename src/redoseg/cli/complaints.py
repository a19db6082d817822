"""What tyro says of a command line in a box of many lines, said in one."""

import re

_NOTES = re.compile(r"\x1b\[[\d;]*m")
_RULE = re.compile(r"^[╭╰├+].*$|^[│|]? *[─-]{4,}.*$", re.MULTILINE)
_KINDS = {
    "FLOAT": ("a number", "numbers"), "INT": ("a whole number", "whole numbers"), "PATH": ("a path", "paths"),
    "STR": ("a word", "words"),
}  # fmt: skip


def one_line(text: str, command: str) -> str | None:
    """The line, without the program's name; None for a box that isn't known."""
    parts = [part.strip("\n") for part in _RULE.split(_NOTES.sub("", text)) if part.strip(" │|\n")]
    if not text.startswith("╭"):  # where letters are ASCII alone, the title stands by itself
        parts = parts[1:]
    first = parts[0] if parts else ""
    lines = [re.sub(r" *[│|]? *$", "", re.sub(r"^(?:[│|] ?|  )", "", line)) for line in first.split("\n")]
    plain = " ".join(" ".join(lines).split())
    help_text = " ".join(re.sub(r"[│|]", " ", "\n".join(parts[1:])).split())
    for say in (_missing, _unfit, _unknown_choice, _no_value):
        said = say(plain, lines, help_text)
        if said is not None:
            return f"{said}: `redoseg {command} --help` lists what it takes"
    return None


def _missing(plain: str, lines: list[str], help_text: str) -> str | None:
    """Options or words that have to be given."""
    found = re.match(r"Missing from redoseg ([\w-]+):", plain)
    if found is None:
        return None
    items: list[list[str]] = []
    for line in lines[1:]:
        if re.match(r" {4}\S", line):
            items.append([line.strip(), ""])
        elif items and line.strip():
            items[-1][1] += f" {line.strip()}"
    return f"{found[1]} needs {' and '.join(_needed(*item) for item in items)}"


def _needed(name: str, text: str) -> str:
    """An option by its flag, a word by what it is."""
    first = text.strip().partition(". ")[0].removesuffix("(required)").strip(" .")
    first = first[:1].lower() + first[1:]
    flag = re.search(r"--[\w-]+", name)
    return f"{flag[0]} ({first})" if flag else first or name


def _unfit(plain: str, lines: list[str], help_text: str) -> str | None:
    """A value that is no number, or the like."""
    found = re.match(r"Error parsing (\S+): .*?(?: from \[(.*?)\]|: ('.*?'))(?:\.| |$)", plain)
    if found is None:
        return None
    kinds = re.search(rf"{re.escape(found[1])}\b,? ((?:\{{[^}}]*\}}|[A-Z\[\]. |]|\.\.\.)+)", help_text)
    words = [_wanted(kind, kinds[1]) for kind in _KINDS if kinds and kind in kinds[1]]
    cure = f", it must be {' or '.join(words)}" if words else ""
    return f"{found[1]} can't be {found[2] or found[3]}{cure}"


def _wanted(kind: str, kinds: str) -> str:
    """One of a kind, or as many as are wanted."""
    count = kinds.count(kind)
    one, many = _KINDS[kind]
    return one if count == 1 or "..." in kinds else f"{count} {many}"


def _unknown_choice(plain: str, lines: list[str], help_text: str) -> str | None:
    found = re.match(r"invalid choice '(.*?)' for argument '(\S+?)'\. Expected one of \((.*?),?\)\.", plain)
    if found is None:
        return None
    choices = [choice.strip(" '") for choice in found[3].split(",")]
    if "None" in choices:  # that is to leave the option out; they come in any order then
        choices = sorted({*choices} - {"None"})
    known = ", ".join(choices)
    return f"{found[2]} can't be '{found[1]}', choose from {known}"


def _no_value(plain: str, lines: list[str], help_text: str) -> str | None:
    found = re.match(r"Missing value for argument '(\S+?)'", plain)
    return f"{found[1]} has no value behind it" if found else None
