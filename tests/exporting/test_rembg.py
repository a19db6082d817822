"""The file for rembg: as its session u2net_custom prepares and reads it, and with rembg itself."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from masknetworks import masks_of, network
from redoseg.errors import ConfigError, ModelError
from redoseg.exporting.export import export
from redoseg.exporting.onnx import save_model
from redoseg.exporting.rembg import export_rembg
from redoseg.segmentation.checkup import draw_flower
from refusals import refusal, refused_command

MEAN, DEVIATION = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))


def photo(seed=0, dark=False):
    """Smooth colours, 150 x 90; `dark`: no value above 120, which rembg brightens to 1."""
    small = np.random.default_rng(seed).integers(0, 120 if dark else 256, (5, 8, 3), np.uint8)
    return Image.fromarray(small).resize((150, 90), Image.Resampling.BICUBIC)


def as_rembg_does(file, picture):
    """rembg's mask (H, W) uint8 before it is resized, written anew from what its sessions do."""
    values = np.asarray(picture.resize((320, 320), Image.Resampling.LANCZOS), np.float64)
    prepared = ((values / max(values.max(), 1e-6) - MEAN) / DEVIATION).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    first = session.run(None, {session.get_inputs()[0].name: prepared.astype(np.float32)})[0][:, 0]
    return (255 * (first - first.min()) / (first.max() - first.min())).astype(np.uint8).squeeze()


def expected(f, picture):
    """The object's mask (320, 320) in [0, 1] of the photo at the network's size, by Pillow and PyTorch."""
    values = np.asarray(picture.resize((320, 320), Image.Resampling.LANCZOS), np.float32)
    channels = [Image.fromarray(values[..., k] / values.max() * 2 - 1) for k in range(3)]
    small = np.stack([np.asarray(c.resize((f.size, f.size), Image.Resampling.BILINEAR)) for c in channels])
    mask = 1 - masks_of(f, small[None])[0, 0]
    return np.asarray(Image.fromarray(mask).resize((320, 320), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(("n", "dark"), [(2, False), (2, True), (3, False)])
def test_rembg_reads_the_networks_own_mask(tmp_path, n, dark):
    f = network(n)
    assert export_rembg(f, tmp_path / "f.onnx") < 1e-4
    found = as_rembg_does(tmp_path / "f.onnx", photo(n, dark))
    wanted = 255 * expected(f, photo(n, dark))
    wanted[0, -2:] = 0, 255
    assert np.ptp(wanted[1:]) > 20, "a test that could fail"
    np.testing.assert_allclose(found, wanted, atol=1.1)  # rembg cuts off what is behind the point


def test_the_corners_keep_rembg_from_stretching(tmp_path):
    """A picture without an object stays without one, where stretching would make half of it the object."""
    f = network()
    f.head.weight.data.mul_(0)
    f.head.bias.data.fill_(-3.0 if f.order[0] == 0 else 3.0)
    export_rembg(f, tmp_path / "f.onnx")
    found = as_rembg_does(tmp_path / "f.onnx", photo())
    level = expected(f, photo())
    assert np.ptp(level) < 1e-6
    assert np.abs(found[1:] - 255 * level[1:]).max() <= 1


def test_a_file_that_is_wrong_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("redoseg.exporting.rembg.expected_object", lambda f, photo: photo[:, :1])
    with refusal(ModelError, match=r"f\.onnx isn't written: its masks differ by"):
        export_rembg(network(), tmp_path / "f.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command(command, tmp_path):
    save_model(network(), tmp_path / "model")
    file = tmp_path / "f.onnx"
    code, output, _ = command("export", tmp_path / "model", "--rembg", file)
    assert code == 0
    assert output.startswith(f"{file}: for rembg -m u2net_custom")
    assert file.is_file()
    refused_command(command, "is no mask network", "segment", file, tmp_path, "--out", tmp_path / "out")


def test_two_files_of_one_name_are_refused(tmp_path):
    save_model(network(), tmp_path / "model")
    with refusal(ConfigError, match="--onnx and --rembg are both"):
        export(tmp_path / "model", onnx=tmp_path / "f.onnx", rembg=tmp_path / "f.onnx")
    assert not (tmp_path / "f.onnx").exists()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("rembg") is None, reason="pip install rembg: numba comes with it, 150 MB")
def test_rembg_itself_cuts_out_a_flower(tmp_path):
    pixels, inside = draw_flower()
    file = tmp_path / "models" / "flowers.onnx"
    file.parent.mkdir()
    export("flowers", rembg=file)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    code = (
        "import sys, rembg\nfrom PIL import Image\n"
        "session = rembg.new_session('u2net_custom', model_path=sys.argv[1])\n"
        "rembg.remove(Image.open(sys.argv[2]), session=session).save(sys.argv[3])\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, file, tmp_path / "photo.png", tmp_path / "out.png"],
        env=os.environ | {"U2NET_HOME": str(file.parent)}, check=True,
    )  # fmt: skip
    with Image.open(tmp_path / "out.png") as cut:
        assert cut.mode == "RGBA"
        alpha = np.asarray(cut)[..., 3]
    read = Image.fromarray(as_rembg_does(file, Image.fromarray(pixels)))
    wanted = np.asarray(read.resize(cut.size, Image.Resampling.LANCZOS))
    np.testing.assert_allclose(alpha.astype(int), wanted, atol=2)
    assert alpha[inside].mean() > 2 * alpha[~inside].mean()
