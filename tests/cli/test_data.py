"""`redoseg data`: the list, a download from a server here, what is missing, mistakes in one line each."""

import gzip
import hashlib
import http.server
import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pooch", reason="the extra `data` isn't installed")

from bare_python import WITHOUT
from data_made import idx_file
from redoseg.data.download.catalogue import SETS


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def serve(
    monkeypatch: pytest.MonkeyPatch, served: tuple[Path, str], name: str, contents: dict[str, bytes]
) -> None:
    """The set's own entry, its files replaced."""
    folder, address = served
    files = []
    for file in SETS[name].files:
        content = contents[file.name]
        (folder / file.name).write_bytes(content)
        known = file.sum and f"md5:{hashlib.md5(content).hexdigest()}"
        files.append(replace(file, urls=(f"{address}/{file.name}",), sum=known, inside=None))
    monkeypatch.setitem(SETS, name, replace(SETS[name], files=tuple(files)))


def digits() -> dict[str, bytes]:
    numbers = np.arange(24, dtype=np.uint8) % 10
    images = np.repeat(numbers, 28 * 28).reshape(24, 28, 28)
    names = [file.name for file in SETS["mnist"].files]
    return {name: gzip.compress(idx_file(images if "images" in name else numbers)) for name in names}


def png(colour: tuple[int, int, int]) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(written, "PNG")
    return written.getvalue()


def tgz(contents: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def test_the_list(command):
    code, output, error = command("data")
    assert (code, error) == (0, "")
    assert command("data", "list") == (code, output, error)
    for name, found in SETS.items():
        assert f"{name}: {found.what}" in output
        assert found.terms in output
        assert f"{found.images:,}" in output
    assert "21,422" in output
    assert "datasplits/lfw-funneled" in output
    assert "redoseg data download NAME --root DIR" in output


def test_help_names_the_sets(command):
    _, output, _ = command("data", "--help")
    shown = " ".join(output.split())
    assert "{list,download,check}" in shown
    assert all(name in shown for name in SETS)


def test_download_and_check(command, tmp_path, served, monkeypatch):
    """Digits that a run can be trained on; a second time nothing is fetched."""
    serve(monkeypatch, served, "mnist", digits())
    root = tmp_path / "my data"
    code, output, error = command("data", "download", "mnist", "--root", root)
    assert code == 0
    words = f"redoseg train digits --n 3 --mnist '{root}/mnist' --out runs/mnist"
    assert output == f"mnist: complete\ntrain with:  {words}\n"
    assert error.count("fetching http://127.0.0.1") == 4
    assert "CC BY-SA 3.0" in error
    assert command("data", "check", "mnist", "--root", root) == (0, output, "")
    assert "fetching" not in command("data", "download", "mnist", "--root", root)[2]

    done = command("train", "digits", "--n", "3", "--mnist", root / "mnist", "--out", "run", "--dry-run")
    assert done[0] == 0


def test_check_says_what_is_missing(command, tmp_path, served, monkeypatch):
    serve(monkeypatch, served, "mnist", digits())
    names = sorted(file.name for file in SETS["mnist"].files)
    code, output, _ = command("data", "check", "mnist", "--root", tmp_path)
    assert code == 1
    assert sorted(output.splitlines()) == [f"{tmp_path}/mnist/{name} is missing" for name in names]

    (served[0] / names[0]).unlink()
    code, output, error = command("data", "download", "mnist", "--root", tmp_path)
    assert code == 1
    assert output == f"{tmp_path}/mnist/{names[0]} is missing\n"
    (line,) = [line for line in error.splitlines() if line.startswith("redoseg: ")]
    assert f"/{names[0]}: the server says 404" in line
    assert f"put it into {tmp_path}/mnist/downloads and run this again" in line

    (tmp_path / "mnist" / names[0]).write_bytes(gzip.compress(b"no digits"))
    code, output, _ = command("data", "check", "mnist", "--root", tmp_path)
    assert code == 1
    assert f"{tmp_path}/mnist/{names[0]} is not an IDX file" in output


def test_what_is_unpacked_is_checked(command, tmp_path, served, monkeypatch):
    """Of Flowers' 8,189 photos the server has one: the check says so, in its reader's words."""
    contents = {
        "102flowers.tgz": tgz({"jpg/image_00001.jpg": png((9, 9, 9))}),
        "102segmentations.tgz": tgz({"segmim/segmim_00001.jpg": png((0, 0, 255))}),
        "setid.mat": b"no splits",
    }
    serve(monkeypatch, served, "flowers", contents)
    code, output, error = command("data", "download", "flowers", "--root", tmp_path)
    assert code == 1
    assert "setid.mat" in output
    assert "redoseg: " not in error
    assert (tmp_path / "flowers" / "jpg" / "image_00001.jpg").read_bytes() == png((9, 9, 9))
    assert (tmp_path / "flowers" / "segmim" / "segmim_00001.jpg").is_file()
    assert command("data", "check", "flowers", "--root", tmp_path) == (1, output, "")


def test_the_union_is_its_parts(command, tmp_path):
    code, output, _ = command("data", "check", "flowers+lfw", "--root", tmp_path)
    assert code == 1
    alone = [command("data", "check", name, "--root", tmp_path)[1] for name in ("flowers", "lfw")]
    assert output == "".join(alone)
    assert all(alone)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["download", "roses"], "roses: there is no such data set; there are flowers, lfw, cub, flowers+lfw"),
        (["check"], "no name given: there is no such data set; there are flowers"),
        (["list", "lfw"], "takes no name: redoseg data download lfw"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(command, line, said):
    code, output, error = command("data", *line)
    assert (code, output) == (1, "")
    assert said in error
    assert error.count("\n") == 1


def test_ctrl_c_says_how_to_go_on(command, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("redoseg.data.download.download.download", stop)
    code, output, error = command("data", "download", "mnist", "--root", tmp_path)
    assert (code, output) == (130, "")
    assert "stopped; run the same again: what is complete is kept" in error


@pytest.mark.parametrize(
    ("line", "said"),
    [("download mnist", "needs pooch, which isn't installed: pip install 'redoseg[data]'"), ("list", None)],
)
def test_without_pooch(tmp_path: Path, line: str, said: str | None) -> None:
    without = WITHOUT.replace('"onnx")', '"onnx", "pooch", "requests")')
    code = f"{without}from redoseg.cli import main\nsys.exit(main(sys.argv[1:]))"
    words = ["data", *line.split(), "--root", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    if said is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 1
        (last,) = [line for line in done.stderr.splitlines() if line.startswith("redoseg: ")]
        assert said in last
        assert "Traceback" not in done.stderr
