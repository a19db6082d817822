"""Files that are damaged, odd or meant to do harm, made by chance, and what may become of them.

Each kind is a function of a source of chance and an empty folder. It writes a file or a folder, opens it as a
user would, and returns what became of it: "read" or "refused". Whatever else happens is a fault: another
error than a RedosegError, a message of several lines, a file that is changed or gone, code that was run.
"""

import csv
import io
import json
import math
import pickle
import random
import shutil
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from masknetworks import network
from redoseg.data.dataset import open_dataset
from redoseg.data.folder import scan
from redoseg.errors import RedosegError
from redoseg.exporting.onnx import save_model
from redoseg.models.backends.choice import BackendName
from redoseg.models.load import load_model
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter
from tinyruns import photos, tiny, trained

Kind = Callable[[random.Random, Path], str]

HARM = "harm was done"


def bright(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """A mask network: the object is what is bright."""
    masks = (images.mean(1, keepdims=True) + 1) / 2
    return np.concatenate([1 - masks, masks], axis=1)


SEGMENTER = Segmenter(bright, n=2, size=32)


@cache
def photo(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 32)) -> bytes:
    """An encoded photo."""
    file = io.BytesIO()
    image = Image.effect_noise(size, 90).convert("RGB").convert(mode)
    if kind in ("GIF", "WEBP", "PNG") and mode == "RGB":
        image.save(file, kind, save_all=True, append_images=[image.rotate(90), image])
    elif kind == "MPO":
        image.save(file, kind, save_all=True, append_images=[image])
    else:
        image.save(file, kind)
    return file.getvalue()


def damaged(chance: random.Random, content: bytes) -> bytes:
    """The content with one of the faults that disks, networks and people cause."""
    content = bytes(content)
    for _ in range(chance.choice([0, 1, 1, 1, 2, 5])):
        at, length = chance.randrange(len(content) + 1), chance.choice([1, 2, 4, 16, 300])
        fault = chance.randrange(7)
        if fault == 0:
            content = content[:at]
        elif fault == 1:
            content = content[:at] + chance.randbytes(length) + content[at + length :]
        elif fault == 2:
            content = content[:at] + bytes(length) + content[at + length :]
        elif fault == 3:
            content = content[:at] + content[at + length :]
        elif fault == 4:
            content = content[:at] + b"\xff" * length + content[at:]
        elif fault == 5:
            content = content[: chance.choice([0, 1, 2, 8, 24, 64])]
        else:
            content = content + content[: chance.randrange(len(content) + 1)]
    return content


def notes(chance: random.Random) -> bytes:
    """A PNG file with an odd note: huge, damaged or none of a known kind."""
    data = chance.choice([zlib.compress(bytes(3_000_000)), chance.randbytes(40), b"", b"\0" * 30])
    kind = chance.choice([b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tEXt", b"pHYs", b"acTL", b"abCD"])
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    content = photo("PNG", "L")
    return content[:33] + chunk + content[33:]


WAYS = (
    "JPEG:RGB JPEG:L JPEG:CMYK PNG:RGB PNG:I;16 PNG:P PNG:RGBA PNG:LA PNG:1 GIF:RGB GIF:P WEBP:RGB TIFF:RGB "
    "TIFF:F TIFF:I;16 BMP:RGB PPM:RGB MPO:RGB AVIF:RGB JPEG2000:RGB TGA:RGB ICO:RGBA PCX:L DDS:RGB"
)


def any_photo(chance: random.Random) -> bytes:
    """A photo of some format, mode and size, a bomb, or a file with odd notes."""
    choice = chance.randrange(12)
    if choice == 0:
        return notes(chance)
    if choice == 1:
        return photo("PNG", "L", chance.choice([(1, 1), (20_000, 3), (3, 20_000), (2, 2)]))
    if choice == 2:  # says that it has 60,000 x 60,000 pixels
        content = bytearray(photo("PNG", "L"))
        content[16:24] = struct.pack(">II", 60_000, 60_000)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        return bytes(content)
    kind, mode = chance.choice(WAYS.split()).split(":")
    return photo(kind, mode)


T = TypeVar("T")
SUFFIXES = (
    *[".jpg", ".png", ".gif", ".tif", ".webp", ".bmp", ".avif", ".jp2", ".tga", ".heic", ".psd", ".jpeg2"],
    "",
)


def a_photo(chance: random.Random, folder: Path) -> str:
    """Photos: damaged, of the wrong suffix, of odd sizes and modes, with odd notes."""
    (folder / "photos").mkdir()
    (folder / "photos" / "sound.png").write_bytes(photo("PNG", "L"))
    (folder / "photos" / f"odd{chance.choice(SUFFIXES)}").write_bytes(damaged(chance, any_photo(chance)))
    report = unchanged(
        folder / "photos", lambda: segment_files(SEGMENTER, [folder / "photos"], folder / "out")
    )
    assert (folder / "out" / "sound.png").is_file()
    assert report.written + len(report.failed) + report.left_out == 2
    assert all(is_one_line(reason) for _, reason in report.failed)
    assert sum(1 for file in (folder / "out").rglob("*") if file.is_file()) == report.written
    return "read" if report.written == 2 else "refused"


NAMES = (
    *("a.jpg", "../a.jpg", "/etc/a.jpg", "x\\y.png", "x//y.png", "a.jpg", "masks/a.png", "b.png/c.png"),
    *("b.png", "\udce4.jpg", "a\nb.jpg", "images/a.jpg", ".../a.png", "CON.png", "é" * 90 + ".jpg"),
)


def an_archive(chance: random.Random, folder: Path) -> str:
    """Archives: damaged, with odd names, links, members twice, bombs."""
    file = io.BytesIO()
    members = [(chance.choice(NAMES), damaged(chance, any_photo(chance))) for _ in range(chance.randrange(5))]
    if chance.random() < 0.5:
        with zipfile.ZipFile(file, "w", chance.choice([0, 8, 12])) as packed, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names twice
            for name, content in members:
                packed.writestr(name.encode("utf-8", "replace").decode(), content)
    else:
        mode: Any = chance.choice(["w", "w:gz", "w:bz2"])
        with tarfile.open(fileobj=file, mode=mode) as tar:
            for name, content in members:
                member = tarfile.TarInfo(name)
                if chance.random() < 0.2:
                    member.type, member.linkname = chance.choice([b"1", b"2", b"6"]), chance.choice(NAMES)
                    tar.addfile(member)
                else:
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    path = folder / f"set{chance.choice(['.zip', '.tar', '.tar.gz', '', '.jpg'])}"
    path.write_bytes(damaged(chance, file.getvalue()))

    def use() -> str:
        report = segment_files(SEGMENTER, [path], folder / "out")
        assert all(is_one_line(reason) for _, reason in report.failed)
        return "read" if report.written else "refused"

    done = unchanged(path.parent, lambda: or_refused(use), but=folder / "out")
    assert not (folder.parent / "a.png").exists()
    return done


def a_table(chance: random.Random, folder: Path) -> str:
    """Tables of splits: damaged, in other encodings, with odd names."""
    (folder / "a.png").write_bytes(photo("PNG", "L"))
    text = io.StringIO()
    table = csv.writer(text, delimiter=chance.choice([",", ",", ";", "\t"]))
    table.writerow(chance.choice([["name", "split"], ["split", "name"], ["name"], ["NAME", "SPLIT"], []]))
    for _ in range(chance.randrange(4)):
        table.writerow(
            [chance.choice(["a", "a.png", "A", "b", "", "a\nb"]), chance.choice(["val", "", "x" * 9])]
        )
    content = text.getvalue().encode(chance.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    (folder / "splits.csv").write_bytes(damaged(chance, content) if chance.random() < 0.5 else content)
    return unchanged(folder, lambda: or_refused(lambda: scan(folder)))


def a_mask(chance: random.Random, folder: Path) -> str:
    """Masks: damaged, of any format, mode and shape."""
    (folder / "a.png").write_bytes(photo("PNG", "L"))
    (folder / "masks").mkdir()
    (folder / "masks" / "a.png").write_bytes(damaged(chance, any_photo(chance)))

    def use() -> str:
        train = open_dataset([folder], size=16, cache=folder / ".cache").split("train")
        labels = train.labels(np.arange(1))
        assert labels.shape == (1, 16, 16)
        assert set(np.unique(labels)) <= {0, 1, 255}
        return "read" if len(train.labelled) else "refused"

    return unchanged(folder, lambda: or_refused(use), but=folder / ".cache")


@cache
def a_model(base: Path) -> Path:
    """A sound model's folder."""
    save_model(network(2, 1, [1, 0]), base / "sound")  # type: ignore[no-untyped-call]
    return base / "sound"


class Harm:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def a_model_folder(chance: random.Random, folder: Path) -> str:
    """Models: damaged files, files of others, missing ones, hostile pickles."""
    model = folder / "model"
    shutil.copytree(a_model(folder.parent), model)
    file = chance.choice(sorted(path for path in model.iterdir() if path.is_file()))
    choice = chance.randrange(8)
    if choice == 0:
        file.unlink()
    elif choice == 1:
        file.write_bytes(pickle.dumps(Harm(folder / HARM)))
    elif choice == 2:
        file.write_bytes(chance.choice([b"", b"{}", b"[]", b"null", b'{"n": -1}', b'{"size": 1e99}']))
    else:
        file.write_bytes(damaged(chance, file.read_bytes()))
    backend: BackendName = chance.choice(["torch", "onnx"])

    def use() -> str:
        segmenter = Segmenter.from_pretrained(model, backend=backend, device="cpu")
        masks = segmenter(np.zeros((32, 32, 3), np.uint8))
        assert masks.shape == (2, 32, 32)
        return "read"

    done = unchanged(model, lambda: or_refused(use))
    assert not (folder / HARM).exists()
    return done


def an_onnx_file(chance: random.Random, folder: Path) -> str:
    """ONNX files: damaged, of other graphs and shapes, with odd notes, with weights in files elsewhere."""
    file = folder / "mask.onnx"
    content = (a_model(folder.parent) / "mask.onnx").read_bytes()
    changed, sides = chance.random() < 0.8, chance.choice([(40, 48), (32, 32)])
    file.write_bytes(other_graph(chance, content) if changed else damaged(chance, content))

    def use() -> str:
        segmenter = Segmenter.from_pretrained(file, device="cpu")
        masks = segmenter(np.zeros((*sides, 3), np.uint8))
        assert masks.shape == (segmenter.n, *sides)
        assert np.isfinite(masks).all()
        return "read"

    return unchanged(folder, lambda: or_refused(use))


def other_graph(chance: random.Random, content: bytes) -> bytes:
    """A sound ONNX file of something that is no mask network, or not the one that its note says."""
    model = onnx.load_from_string(content)
    graph = model.graph
    note = json.loads(model.metadata_props[0].value)
    choice = chance.randrange(9)
    if choice == 0:  # a note of other numbers
        name = chance.choice(["n", "size", "starts", "version", "weights"])
        numbers: list[Any] = [-1, 0, 1, 2, 3, 33, 1 << 40, 1e99, math.inf, 10**400]
        others: list[Any] = [None, "two", [], [0.5], ["a"], [2.0], [10**400], {}]
        note[name] = chance.choice(numbers + others)
    elif choice == 1:
        note.pop(chance.choice(["n", "size"]))
    elif choice == 2:  # weights that are no numbers
        tensor = graph.initializer[chance.randrange(len(graph.initializer))]
        array = onnx.numpy_helper.to_array(tensor)
        other = np.full(array.shape, chance.choice([np.nan, np.inf, 1e30, 0]), array.dtype, order="C")
        tensor.CopyFrom(onnx.numpy_helper.from_array(other, tensor.name))
    elif choice == 3:  # weights in a file elsewhere
        tensor = graph.initializer[chance.randrange(len(graph.initializer))]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        where = chance.choice(["/etc/passwd", "../../../etc/passwd", "nowhere.bin", "mask.onnx"])
        tensor.external_data.add(key="location", value=where)
    elif choice == 4:
        del graph.node[chance.randrange(len(graph.node))]
    elif choice == 5:  # a result of other shape or kind
        last = graph.node[-1]
        last.output[0] = "before"
        added: dict[str, dict[str, Any]] = {
            "Cast": {"to": onnx.TensorProto.INT64},
            "ReduceMean": {"keepdims": 0},
            "Neg": {},
            "GlobalAveragePool": {},
        }
        operation = chance.choice(sorted(added))
        graph.node.append(onnx.helper.make_node(operation, ["before"], ["masks"], **added[operation]))
        graph.output[0].type.tensor_type.ClearField("shape")
        if operation == "Cast":
            graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    elif choice == 6:
        graph.input[0].name = "pictures"
        for node in graph.node:
            node.input[:] = ["pictures" if name == "images" else name for name in node.input]
    elif choice == 7:
        graph.output[0].name = graph.node[-1].output[0] = "other"
    else:  # images of one size only
        shape = graph.input[0].type.tensor_type.shape
        for dim in shape.dim[2:]:
            dim.dim_value = 32
    model.metadata_props[0].value = "[" * 100_000 if chance.random() < 0.02 else json.dumps(note)
    written: bytes = model.SerializeToString()
    return written


def a_checkpoint(chance: random.Random, folder: Path) -> str:
    """Runs: damaged descriptions and checkpoints, hostile pickles."""
    run = folder / "run"
    shutil.copytree(a_run(folder.parent), run)
    files = [run / "run.json", run / "checkpoints" / "last.safetensors", run / "model" / "card.json"]
    file = chance.choice([one for one in files if one.is_file()])
    harm = chance.random() < 0.2
    file.write_bytes(pickle.dumps(Harm(folder / HARM)) if harm else damaged(chance, file.read_bytes()))

    def use() -> str:
        assert load_model(run).f.n == 2
        return "read"

    done = unchanged(run, lambda: or_refused(use))
    assert not (folder / HARM).exists()
    return done


@cache
def a_run(base: Path) -> Path:
    """A sound run."""
    config = tiny(photos(base / "data", train=4, val=2), base / "run", steps=1)  # type: ignore[no-untyped-call]
    path: Path = trained(config).path  # type: ignore[no-untyped-call]
    return path


KINDS: dict[str, Kind] = {
    "photos": a_photo, "archives": an_archive, "tables of splits": a_table, "masks": a_mask,
    "models": a_model_folder, "ONNX files": an_onnx_file, "runs": a_checkpoint,
}  # fmt: skip


def or_refused(use: Callable[[], object]) -> str:
    """What `use` says, or that it was refused, in one line."""
    try:
        said = use()
        return said if isinstance(said, str) else "read"
    except RedosegError as error:
        said = str(error)
    assert is_one_line(said), said
    return "refused"


def is_one_line(text: str) -> bool:
    return bool(text) and text.isprintable()


def unchanged(folder: Path, use: Callable[[], T], but: Path | None = None) -> T:
    """What `use` gives, which must leave the files in `folder` as they are and add none."""
    before = content_of(folder, but)
    done = use()
    assert content_of(folder, but) == before
    return done


def content_of(folder: Path, but: Path | None) -> dict[str, bytes]:
    return {
        str(file): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and (but is None or not file.is_relative_to(but))
    }
