"""ONNX files: the same masks as PyTorch's at any size, whole or not there, with a note of what they are."""

import errno
import json
import os
import shutil
import signal
import sys
import time

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from masknetworks import images, masks_of, network
from redoseg.cli import main
from redoseg.errors import ModelError
from redoseg.exporting import graph
from redoseg.exporting import onnx as exporting
from redoseg.exporting.onnx import export_onnx, save_model
from redoseg.exporting.sharing import share_weights, write_whole
from redoseg.models.backends.onnx import OnnxBackend
from redoseg.models.tensor_file import weights_digest
from redoseg.networks.mask import MaskNetwork
from redoseg.version import __version__

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """By the regions' order."""
    folder, made = tmp_path_factory.mktemp("onnx"), {}
    for seed, order in enumerate([(0, 1), (1, 0), (0, 1, 2), (2, 0, 1)]):
        f = network(len(order), seed, list(order))
        file = folder / f"{'-'.join(map(str, order))}.onnx"
        assert export_onnx(f, file) < 1e-5
        made[order] = f, file
    return made


ORDERS = [(0, 1), (1, 0), (0, 1, 2), (2, 0, 1)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 36, 52), (2, 128, 40), (5, 44, 92), (1, 256, 32)])
def test_masks_are_pytorchs_at_any_size(files, order, shape):
    f, file = files[order]
    pictures = images(*shape)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (masks,) = session.run(["masks"], {"images": pictures})
    expected = masks_of(f, pictures)
    assert masks.dtype == np.float32
    assert masks.shape == (shape[0], len(order), *shape[1:])
    assert np.abs(masks - expected).max() < 1e-5
    assert expected.std() > 0.05  # so a wrong order would show


def test_a_file_is_whole_and_says_what_it_is(files):
    f, file = files[(2, 0, 1)]
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    info = json.loads({entry.key: entry.value for entry in model.metadata_props}["redoseg"])
    assert (info["n"], info["size"], info["version"]) == (3, 32, __version__)
    assert [entry.name for entry in model.graph.input] == ["images"]
    assert [entry.name for entry in model.graph.output] == ["masks"]
    free = [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert free == ["batch", "", "height", "width"]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    weights = sum(p.numel() for p in f.parameters()) * 4
    assert file.stat().st_size < weights + 50_000
    assert sorted(file.parent.iterdir()) == sorted(path for _, path in files.values())


def test_f_is_left_as_it_was(tmp_path):
    f = network(order=[1, 0]).train()
    before = {name: tensor.clone() for name, tensor in f.state_dict().items()}
    export_onnx(f, tmp_path / "a.onnx")
    assert f.training
    assert all(p.requires_grad for p in f.parameters())
    assert f.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in f.state_dict().items())


def test_a_file_that_would_differ_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_text("old")
    monkeypatch.setattr(exporting, "TOLERANCE", 0.0)
    with pytest.raises(ModelError, match=r"a\.onnx isn't written: its masks differ by .+, more than 0$"):
        export_onnx(network(), tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_text() == "old"


def test_nothing_is_said(tmp_path, capfd, recwarn):
    export_onnx(network(), tmp_path / "a.onnx")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_a_network_without_pyramid_is_exported_too(tmp_path):
    assert export_onnx(MaskNetwork(width=4, blocks=0, size=32, pyramid=False), tmp_path / "plain.onnx") < 1e-5


def test_a_models_folder_holds_the_network_twice(tmp_path):
    f = network(3, order=[1, 2, 0])
    save_model(f, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names >= {"config.json", "model.safetensors", "mask.onnx"}
    backend = OnnxBackend(tmp_path / "model" / "mask.onnx")
    assert (backend.n, backend.size) == (3, 32)
    assert backend.info["weights"] == weights_digest(tmp_path / "model" / "model.safetensors")
    again = MaskNetwork.from_pretrained(tmp_path / "model")
    pictures = images(2, 32, 40)
    assert np.abs(backend(pictures) - masks_of(again, pictures)).max() < 1e-5


def test_weights_that_are_shared_are_there_once(tmp_path):
    f, pictures = network(3, order=[1, 2, 0]).eval(), images(2, 32, 40)
    save_model(f, tmp_path / "model", starts=(0.25, 0.5))
    file, weights = (tmp_path / "model" / name for name in ("mask.onnx", "model.safetensors"))
    before, size = OnnxBackend(file), file.stat().st_size
    assert share_weights(f, file.parent) < 1e-5
    after = OnnxBackend(file)
    assert np.array_equal(after(pictures), before(pictures))
    assert (after.info, after.starts) == (before.info, (0.25, 0.5))
    assert size - file.stat().st_size > 0.5 * weights.stat().st_size
    for names in (["mask.onnx", "model.safetensors"], ["mask.onnx"]):  # as some installers lay out a package
        linked = tmp_path / "-".join(names)
        linked.mkdir()
        for name in names:
            (linked / name).symlink_to(file.with_name(name))
        assert np.array_equal(OnnxBackend(linked / "mask.onnx")(pictures), before(pictures))
    os.link(weights, tmp_path / "second name")
    write_whole(file.parent, tmp_path / "whole.onnx")
    assert np.array_equal(OnnxBackend(tmp_path / "whole.onnx")(pictures), before(pictures))


@pytest.mark.parametrize("other", ["missing", "short", "of another model"])
def test_a_file_without_its_weights_is_refused(tmp_path, other):
    folder = tmp_path / "model"
    save_model(network(2).eval(), folder)
    share_weights(network(2).eval(), folder)
    if other == "missing":
        (folder / "model.safetensors").unlink()
    elif other == "short":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    else:
        save_model(network(2, seed=1).eval(), tmp_path / "another")
        shutil.copy(tmp_path / "another" / "model.safetensors", folder)
    said = r"mask\.onnx has its weights in model\.safetensors, and beside it that is missing or of another"
    with pytest.raises(ModelError, match=said):
        OnnxBackend(folder / "mask.onnx")


def test_weights_of_another_model_are_not_shared(tmp_path):
    for seed, name in enumerate(("model", "another")):
        save_model(network(2, seed).eval(), tmp_path / name)
    shutil.copy(tmp_path / "another" / "model.safetensors", tmp_path / "model")
    before = (tmp_path / "model" / "mask.onnx").read_bytes()
    with pytest.raises(ModelError, match="has none of the weights in model"):
        share_weights(network(2).eval(), tmp_path / "model")
    assert (tmp_path / "model" / "mask.onnx").read_bytes() == before


def test_without_onnx_a_model_is_saved_all_the_same(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "onnx", None)
    save_model(network(), tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in names
    assert "mask.onnx" not in names
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "pip install 'redoseg[train]'; the model is saved without it" in record.message


def test_a_full_disk_is_no_reason_to_go_without(tmp_path, monkeypatch, caplog):
    """It passes; a model without mask.onnx would stay."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "write_aside", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(network(), tmp_path / "model")
    assert not caplog.records


# The command


def test_export(tmp_path, capsys):
    f = network(2, 5, [1, 0])
    f.save_pretrained(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "new" / "f.onnx")]) == 0
    output = capsys.readouterr().out
    assert "f.onnx: its masks differ from the network's own by" in output
    pictures = images(2, 36, 52)
    assert np.abs(OnnxBackend(tmp_path / "new" / "f.onnx")(pictures) - masks_of(f, pictures)).max() < 1e-5


def test_export_without_onnx_is_one_line(tmp_path, capsys, monkeypatch):
    network().save_pretrained(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "f.onnx")]) == 1
    assert capsys.readouterr().err == (
        "redoseg: redoseg export needs onnx, which isn't installed: pip install 'redoseg[train]'\n"
    )


def test_equal_networks_give_equal_files(tmp_path):
    for name in ("a", "b"):
        export_onnx(network(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError, AttributeError])
def test_interrupted_an_export_is_one_line_and_no_file(tmp_path, capsys, monkeypatch, raised):
    """Whatever libraries make of Ctrl-C: one that was cut off in its import lacks attributes."""

    def cut_off(*arguments, **options):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt as stop:
            raise raised("a library's own words") from stop

    network().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(graph, "build_graph", cut_off)
    line = ["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "new" / "a.onnx")]
    assert main(line) == 130
    output, said = capsys.readouterr()
    assert (output, said) == ("", "redoseg: stopped: nothing is written, the same command begins anew\n")
    assert list(tmp_path.rglob("*.onnx*")) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_alone_is_not_taken_for_an_interruption(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("a library's own words")

    network().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(graph, "build_graph", fail)
    with pytest.raises(RuntimeError, match="own words"):
        main(["export", str(tmp_path / "model"), "--onnx", str(tmp_path / "a.onnx")])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
