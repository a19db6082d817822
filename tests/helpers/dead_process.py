"""What a process that has died leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

from redoseg.files import aside_of


def of_a_dead_process(path: Path) -> Path:
    """Where a process that has ended was writing what should have become `path`."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    aside = aside_of(path)
    return aside.with_name(aside.name.replace(str(os.getpid()), str(process.pid)))
