"""The action auto: a folder of photos to masks, cut-outs and a verdict."""

import shlex
import sys
from typing import Annotated

from redoseg.cli.early import check_auto
from redoseg.cli.options import by_group
from redoseg.cli.terminal import errors, print_failed
from redoseg.config.auto import AutoConfig


def auto(config: Annotated[AutoConfig, by_group(AutoConfig)]) -> int:
    """Find the object in a folder of photos: model, masks, cut-outs, and whether to trust them."""
    from redoseg.automation.folder import AutoFolder

    check_auto(config)
    from redoseg.automation.auto import auto as run

    folder = AutoFolder(config.out)
    try:
        found = run(config, console=errors)
    except KeyboardInterrupt:
        print(f"\nstopped; to go on: {_command(config)}", file=sys.stderr)
        raise
    print_failed(found.failed)
    failed = f", {len(found.failed)} photos left out, they are named above" if found.failed else ""
    print(found.verdict.text)
    print(f"masks and cut-outs: {found.masks} in {folder.masks} and {folder.cutouts}{failed}")
    print(f"sure isn't right yet:  look at {folder.page}, or {folder.run.report}")
    print(f"a row for each photo:  {folder.table}")
    segment, trim = f"redoseg segment {shlex.quote(str(config.out))}", " --trim" * config.trim
    print(f"for other photos:      {segment} PHOTOS --out MASKS{trim}")
    if found.verdict.found != "not found":
        print(f"up to a doubt of yours, such as .1: {segment} PHOTOS --out SURE{trim} --max-doubt .1")
    return 1 if found.failed else 0


def _command(config: AutoConfig) -> str:
    """The command that these options stand for."""
    words = ["redoseg", "auto", *config.data, "--out", str(config.out)]
    defaults = AutoConfig(data=config.data, out=config.out)
    for name, value in vars(config).items():
        if value is True:
            words.append(f"--{name}")
        elif value != getattr(defaults, name):
            words += [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)
