"""Python without some packages, as on a machine that doesn't have them."""

import subprocess
import sys

# What `pip install redoseg` doesn't bring isn't found.
WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        extra = ("torch", "safetensors", "scipy", "sklearn", "onnx")
        return None if name.partition(".")[0] in extra else PathFinder.find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
