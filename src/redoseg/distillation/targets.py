"""What a student learns of each image if its targets are refined: the votes of the starts, and their doubt.

They are made once, on all cores, and kept in the student's folder, so that a run that goes on needn't wait.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from redoseg.data.dataset import Split
from redoseg.distillation.teacher import Teacher
from redoseg.files import read_json, write_aside, write_json
from redoseg.models.backends.onnx import cores
from redoseg.segmentation.refining import Refined, Refining
from redoseg.tensors import to_tensor
from redoseg.training.batches import Indices, IndicesOf, Source

_CHUNK = 256  # images in a file

Labels = NDArray[np.uint8]
Progress = Callable[[int, int], None]


class RefinedTargets:
    """The refined masks of all images of a split: `objects` (N, S, S, n - 1) uint8, a soft mask of 255 for
    each region but the background, and `doubt` (N,) float32 from 0 to 1."""

    def __init__(self, folder: Path, images: Split, teacher: Teacher, identity: dict[str, Any]) -> None:
        """`identity` says what else the targets depend on: those of another one are made anew."""
        self.folder, self.images, self.teacher = folder, images, teacher
        self.identity = identity | {"images": len(images), "starts": list(teacher.starts)}

    def make(self, progress: Progress) -> None:
        """Make what is missing. `progress` is called with (images done, images in all)."""
        if not self._is_ours():
            for old in self.folder.glob("*.npz"):
                old.unlink()
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "identity.json", self.identity)
        with ThreadPoolExecutor(cores()) as pool:
            for part in self._chunks():
                file = self._file(part)
                if not file.is_file():
                    self._write(file, *self._refine(part, pool))
                progress(int(part[-1]) + 1, len(self.images))

    def load(self) -> None:
        """Read all of them into memory: N * S * S * (n - 1) bytes."""
        parts = [np.load(self._file(part)) for part in self._chunks()]
        self.objects = np.concatenate([part["objects"] for part in parts])
        self.doubt = np.concatenate([part["doubt"] for part in parts])

    def surest(self, share: float) -> Indices:
        """The indices of this share of the images, at least one: those with the least doubt, in order."""
        order = self.doubt.argsort(kind="stable")
        return np.sort(order[: max(1, round(share * len(order)))])

    def _is_ours(self) -> bool:
        file = self.folder / "identity.json"
        return file.is_file() and read_json(file) == self.identity

    def _chunks(self) -> Iterator[Indices]:
        for start in range(0, len(self.images), _CHUNK):
            yield np.arange(start, min(start + _CHUNK, len(self.images)))

    def _file(self, part: Indices) -> Path:
        return self.folder / f"{part[0]:08d}.npz"

    def _refine(self, part: Indices, pool: ThreadPoolExecutor) -> tuple[Labels, NDArray[np.float32]]:
        """Of some images: `objects` and `doubt`. A refined mask that has less than half in common with the
        network's is not to be learned: the network's stays, and its doubt is 1."""
        pictures = self.images.images(part)  # (b, S, S, 3)
        masks = self.teacher.masks_of_many(to_tensor(pictures, self.teacher.device)).cpu().numpy()
        refining = Refining(self.teacher.starts, max(64, pictures.shape[1]))

        def refine(picture: Labels, own: NDArray[np.float32]) -> tuple[Labels, float]:
            refined = refining(picture, own)
            if refining.agree(refined.masks, own) < 0.5:
                refined = Refined(own, 1.0)
            return (255 * refined.masks[1:]).round().astype(np.uint8).transpose(1, 2, 0), refined.doubt

        found = list(pool.map(refine, pictures, masks))
        return np.stack([objects for objects, _ in found]), np.array(
            [doubt for _, doubt in found], np.float32
        )

    @staticmethod
    def _write(file: Path, objects: Labels, doubt: NDArray[np.float32]) -> None:
        content = BytesIO()
        np.savez_compressed(content, objects=objects, doubt=doubt)
        write_aside(file, lambda aside: aside.write_bytes(content.getvalue()))


class WithTargets:
    """A source of batches (B, S, S, 3 + n - 1) uint8: images beside their targets, of the `kept` images
    alone. What mirrors or moves the images does the same to the targets."""

    def __init__(self, images: Source, targets: RefinedTargets, kept: Indices) -> None:
        self.images, self.targets, self.kept = images, targets, kept

    def take(self, k: int, indices_of: IndicesOf) -> torch.Tensor:
        images = self.images.take(k, lambda j: self.kept[indices_of(j)])
        objects = torch.from_numpy(self.targets.objects[self.kept[indices_of(k)]])
        return torch.cat((images, objects.to(images.device)), 3)
