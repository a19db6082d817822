"""What `redoseg doctor` looks at: versions, devices, cores, caches, and whether segmenting works."""

import os
import platform
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.cores import quota, usable_cores
from redoseg.data.cache import default_cache
from redoseg.errors import first_line
from redoseg.models.shipped import shipped_folder, shipped_names
from redoseg.version import __version__

EXTRAS = {
    "train": "torch safetensors scipy scikit-learn onnx",
    "data": "pooch requests urllib3 scipy",
    "reproduce": "matplotlib pandas",
    "baselines": "scikit-learn scipy threadpoolctl",
    "heic": "pillow-heif",
    "ray": "ray",
    "tensorboard": "tensorboard",
    "web": "starlette uvicorn",
}
"""The packages that each extra of a user brings, by their distributions; `pyproject.toml` declares them."""
PLAIN = (
    *("numpy", "pillow", "onnxruntime", "opencv-python-headless", "huggingface-hub", "tyro", "rich"),
    *("filelock", "platformdirs"),
)
MODEL = "flowers"
_LEAST = 0.8  # intersection over union with the drawn flower


@dataclass(frozen=True)
class SelfTest:
    """Whether a shipped model has found what is drawn on a picture, its IoU with it, and the seconds that it
    took; or what went wrong."""

    works: bool
    text: str


def versions() -> dict[str, str | None]:
    """Of redoseg, Python, the system and every package that redoseg can use; None where it isn't there."""
    extras = dict.fromkeys(name for names in EXTRAS.values() for name in names.split())
    found: dict[str, str | None] = {
        "redoseg": __version__, "python": platform.python_version(), "system": platform.platform(),
    }  # fmt: skip
    return found | {name: _version(name) for name in (*PLAIN, *extras)}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def missing() -> dict[str, list[str]]:
    """Extra, "" for none -> its packages that aren't installed; extras that are whole aren't in it."""
    wanted = {"": PLAIN} | {extra: tuple(names.split()) for extra, names in EXTRAS.items()}
    lacking = {extra: [name for name in names if _version(name) is None] for extra, names in wanted.items()}
    return {extra: names for extra, names in lacking.items() if names}


def devices() -> list[str]:
    """What can compute: of PyTorch if it is there, and of ONNX Runtime; or why it can't be imported."""
    found = []
    if find_spec("torch") is not None:
        try:
            found += _torch_devices(import_module("torch"))
        except (ImportError, OSError, RuntimeError) as error:
            found.append(f"PyTorch can't be used: {first_line(error)}")
    try:
        providers = import_module("onnxruntime").get_available_providers()
        known = [name.removesuffix("ExecutionProvider") for name in providers]
        found.append(f"ONNX Runtime: {', '.join(known)}")
    except (ImportError, OSError, AttributeError) as error:
        found.append(f"ONNX Runtime can't be used: {first_line(error)}")
    return found


def _torch_devices(torch: Any) -> list[str]:
    names = [
        "cpu",
        *(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())),
    ]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [f"PyTorch: {', '.join(names)}"]


def cores() -> dict[str, float | int | None]:
    """How many there are, how many redoseg uses, and the quota of the control group, in cores, if any."""
    return {"present": os.cpu_count(), "used": usable_cores(), "quota": quota()}


def caches() -> dict[str, tuple[str, int]]:
    """What each holds -> its folder and its size in bytes."""
    constants = import_module("huggingface_hub.constants")
    folders = {"resized photos": default_cache(), "models from a hub": Path(constants.HF_HUB_CACHE)}
    return {what: (str(folder), _size(folder)) for what, folder in folders.items()}


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            file = Path(place, name)
            try:
                total += 0 if file.is_symlink() else file.stat().st_size
            except OSError:  # it is gone by now
                continue
    return total


def self_test() -> SelfTest:
    """Segment a drawn flower with a model that comes with redoseg; check all of these models' files, too."""
    try:
        for name in shipped_names():
            shipped_folder(name)
        photo, inside = draw_flower()
        start = time.perf_counter()
        # Not imported above: a package of the plain installation may be what is missing.
        segmenter = import_module("redoseg.segmentation.segmenter").Segmenter
        masks = segmenter.from_pretrained(MODEL, device="cpu")(photo)
        seconds = time.perf_counter() - start
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the user has to know
        return SelfTest(False, f"{type(error).__name__}: {first_line(error)}")
    found = masks[0] < 0.5
    iou = float((found & inside).sum() / (found | inside).sum())
    return SelfTest(iou >= _LEAST, f"{MODEL} on a drawn flower: IoU {iou:.3f} in {seconds:.2f} s")


def draw_flower() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A yellow flower on noisy green, (160, 200, 3) uint8, and where it is."""
    rows, columns = np.mgrid[:160, :200] - np.array([80, 100]).reshape(2, 1, 1)
    inside = np.hypot(rows, columns) < 45 * (1 + 0.15 * np.cos(6 * np.arctan2(rows, columns)))
    pixels = np.where(inside[..., None], (250, 210, 40), (50, 95, 45))
    noise = np.random.default_rng(0).normal(0, 12, (160, 200, 1))
    return (pixels + noise).clip(0, 255).astype(np.uint8), inside


def facts() -> dict[str, Any]:
    """Everything, as `redoseg doctor --json` prints it."""
    tested = self_test()
    return {
        "versions": versions(), "executable": sys.executable, "devices": devices(), "cores": cores(),
        "caches": {what: {"folder": folder, "bytes": size} for what, (folder, size) in caches().items()},
        "models": shipped_names(), "missing": missing(),
        "self_test": {"works": tested.works, "text": tested.text},
    }  # fmt: skip
