"""Backends as functions of arrays, and which one a model gets."""

import dataclasses
import importlib.util
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import huggingface_hub
import numpy as np
import onnx
import pytest
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as state
from safetensors.torch import save_file

from masknetworks import images, masks_of, network
from redoseg.cli import main
from redoseg.errors import ConfigError, MissingExtraError, ModelError
from redoseg.exporting.onnx import export_onnx, save_model
from redoseg.models.backends import choice
from redoseg.models.backends.choice import BackendName, open_backend
from redoseg.models.backends.onnx import OnnxBackend
from redoseg.models.backends.torch import TorchBackend
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.tensor_file import weights_digest
from redoseg.models.weights import save_tensors
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.segmenter import Segmenter
from refusals import refusal
from tinyruns import photos, tiny, trained


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(network(2, 1, [1, 0]), folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = photos(tmp_path_factory.mktemp("data") / "photos")
    folder = trained(
        tiny(data, tmp_path_factory.mktemp("runs") / "run", eval_every=1, steps=2, f_blocks=1, f_width=4)
    )
    export_onnx(MaskNetwork.from_pretrained(folder.model), folder.model / "mask.onnx")
    return folder


@pytest.fixture
def copied(run, tmp_path):
    return RunFolder(shutil.copytree(run.path, tmp_path / "copied"))


def kind(opened):
    return "onnx" if isinstance(opened.backend, OnnxBackend) else "torch"


# Functions of arrays


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 5, 13])
def test_an_image_has_the_same_masks_in_any_batch_and_on_any_number_of_threads(model, threads, batch):
    pictures = images(batch, 36, 52)
    masks = OnnxBackend(model / "mask.onnx", threads=threads)(pictures)
    assert np.abs(masks - masks_of(network(2, 1, [1, 0]), pictures)).max() < 1e-5


def test_several_threads_may_call_at_once(model):
    backend = OnnxBackend(model / "mask.onnx", threads=2)
    pictures = [images(k % 4 + 1, 32, 32 + 4 * (k % 3), seed=k) for k in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backend, pictures))
    for one, masks in zip(pictures, together, strict=True):
        np.testing.assert_allclose(masks, backend(one), atol=1e-6)


@pytest.mark.parametrize("n", [2, 3])
def test_torch_backend_gives_fs_masks_whatever_happens_to_f_later(n):
    f = network(n, order=list(range(n))[::-1])
    pictures = images(9, 128, 144)
    expected = masks_of(f, pictures)
    backend = TorchBackend(f)
    with torch.no_grad():
        f.head.weight.zero_()
    masks = backend(pictures)
    assert masks.dtype == np.float32
    assert masks.flags.c_contiguous
    assert np.abs(masks - expected).max() < 1e-4


def test_half_precision_moves_masks_little():
    f, pictures = network(), images(4, 64, 64)
    difference = np.abs(TorchBackend(f, half=True)(pictures) - masks_of(f, pictures))
    assert 0 < difference.mean() < 0.02


def test_a_gpu_that_isnt_there(model):
    with pytest.raises(ConfigError, match=r"--device cuda can't be used by this ONNX Runtime: use --backend"):
        OnnxBackend(model / "mask.onnx", device="cuda")


def renamed_input(model):
    model.graph.input[0].name = model.graph.node[0].input[0] = "pictures"


def whole_numbers(model):
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Cast", ["before"], ["masks"], to=onnx.TensorProto.INT64))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64


def one_size(model):
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 32


def noted(**fields):
    def change(model):
        note = model.metadata_props[0]
        note.value = json.dumps(json.loads(note.value) | fields)

    return change


def no_numbers(model):
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(1, np.nan, np.float32), "head.bias"))


def transposed(model):
    """What fits at no size."""
    for node in model.graph.node:
        if node.op_type == "Transpose":
            del node.attribute[0].ints[:]
            node.attribute[0].ints.extend([0, 1, 2])


def test_want_of_memory_is_not_put_down_to_the_model(model, monkeypatch):
    backend = OnnxBackend(model / "mask.onnx")

    def full(*_):
        raise state.Fail("[ONNXRuntimeError] : 1 : FAIL : bfc_arena.cc: Failed to allocate memory")

    for key in backend._sessions:
        backend._sessions[key] = cast(Any, SimpleNamespace(run=full))
    with pytest.raises(MemoryError, match="allocate"):
        backend(np.zeros((1, 3, 36, 52), np.float32))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (renamed_input, "its graph isn't from images to masks of 2 regions"),
        (whole_numbers, "its graph isn't from images to masks of 2 regions"),
        (one_size, "it takes images of .* only"),
        (noted(n=3), "its graph isn't from images to masks of 3 regions"),
        (noted(n=0), "its graph isn't from images to masks of 0 regions"),
        (noted(size=33), "it states 2 regions and images of 33 pixels"),
        (noted(size=float("inf")), "is no mask network of redoseg, or it is damaged"),
        (noted(starts=[]), "masks are refined from"),
        (noted(starts=[0.5, 2.0]), "masks are refined from"),
        (no_numbers, "the model's masks are no numbers"),
        (transposed, "mask.onnx can't compute masks"),
    ],
)
@pytest.mark.parametrize("sides", [(32, 32), (40, 48)])
def test_a_sound_onnx_file_that_is_no_such_network_is_one_line(model, tmp_path, change, said, sides):
    other = onnx.load(model / "mask.onnx")
    change(other)
    onnx.save(other, tmp_path / "mask.onnx")
    with refusal(ModelError, match=said):
        Segmenter.from_pretrained(tmp_path / "mask.onnx")(np.zeros((*sides, 3), np.uint8))


@pytest.mark.parametrize("damage", [b"", b"noise", "cut", "foreign"])
def test_a_damaged_onnx_file_is_one_line(model, tmp_path, capfd, damage):
    file = shutil.copytree(model, tmp_path / "model") / "mask.onnx"
    content = file.read_bytes()
    if damage == "foreign":
        content = content.replace(b"redoseg", b"another")
    file.write_bytes(
        content[: len(content) // 2] if damage == "cut" else content if damage == "foreign" else damage
    )
    for path in (file, file.parent):
        with refusal(ModelError, match=r"mask\.onnx is no mask network of redoseg, or it is dam"):
            Segmenter.from_pretrained(path, device="cpu")
    assert capfd.readouterr().err == ""
    assert kind(open_backend(file.parent, backend="torch", device="cpu")) == "torch"


# Which one


@pytest.mark.parametrize("asked", ["auto", "torch", "onnx"])
def test_a_models_folder(model, asked):
    opened = open_backend(model, backend=asked, device="cpu")
    assert kind(opened) == ("onnx" if asked == "auto" else asked)
    assert (opened.n, opened.size) == (2, 32)
    pictures = images(3, 40, 32)
    assert np.abs(opened.backend(pictures) - masks_of(network(2, 1, [1, 0]), pictures)).max() < 1e-5


def test_an_onnx_file_is_a_model(model, tmp_path):
    file = shutil.copy(model / "mask.onnx", tmp_path / "faces.onnx")
    assert kind(open_backend(file)) == "onnx"
    for command in (["evaluate", file, "digit"], ["export", file, "--onnx", "x.onnx"]):
        assert main(list(map(str, command))) == 1
    with pytest.raises(ModelError, match=r"faces\.onnx holds masks alone, for `redoseg segment`"):
        open_backend(file, backend="torch")


@pytest.mark.parametrize("asked", ["auto", "onnx"])
def test_an_onnx_file_of_other_weights_is_left_alone(model, tmp_path, asked):
    """Somebody saved new weights into the folder."""
    folder = shutil.copytree(model, tmp_path / "model")
    network(2, 7).save_pretrained(folder)
    if asked == "auto":
        assert kind(open_backend(folder, device="cpu")) == "torch"
    else:
        with pytest.raises(
            ModelError, match=r"has no mask\.onnx of these weights: `redoseg export .+ makes one"
        ):
            open_backend(folder, backend="onnx")


def test_without_an_onnx_file_there_is_torch(tmp_path):
    network().save_pretrained(tmp_path / "model")
    assert kind(open_backend(tmp_path / "model", device="cpu")) == "torch"
    with pytest.raises(ModelError, match=r"has no mask\.onnx"):
        open_backend(tmp_path / "model", backend="onnx", device="cpu")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "onnx"),
        ({"weights": "ema"}, "onnx"),
        ({"checkpoint": "2"}, "onnx"),
        ({"weights": "raw"}, "torch"),
        ({"checkpoint": "1"}, "torch"),
    ],
)
def test_a_runs_onnx_file_serves_the_checkpoint_it_was_made_from(run, options, expected):
    opened = open_backend(run.path, device="cpu", **options)
    assert kind(opened) == expected
    by_torch = open_backend(run.path, device="cpu", backend="torch", **options)
    pictures = images(2, 32, 32)
    assert np.abs(opened.backend(pictures) - by_torch.backend(pictures)).max() < 1e-5


def test_a_run_that_went_on_has_an_old_onnx_file(copied):
    shutil.copy(copied.step(1), copied.last)
    assert kind(open_backend(copied.path, device="cpu")) == "torch"


def test_a_digest_is_of_names_and_values(tmp_path):
    tensors = {"f.a": torch.arange(6.0).reshape(2, 3), "f.b": torch.ones(2), "g.a": torch.zeros(1)}
    save_tensors(tmp_path / "one", tensors, {})
    save_file({"b": torch.ones(2), "a": torch.arange(6.0).reshape(2, 3)}, tmp_path / "two")
    assert weights_digest(tmp_path / "one", "f.") == weights_digest(tmp_path / "two")
    save_file({"b": torch.ones(2), "a": torch.arange(6.0).reshape(2, 3) + 1}, tmp_path / "three")
    assert weights_digest(tmp_path / "three") != weights_digest(tmp_path / "two")
    (tmp_path / "damaged").write_bytes(b"\xff" * 100)
    assert weights_digest(tmp_path / "damaged") is None
    assert weights_digest(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("device", "gpu", "expected"), [("cpu", True, True), ("auto", False, True), ("cuda", True, False)]
)
def test_pytorch_is_asked_for_a_gpu_only_where_there_may_be_one(monkeypatch, device, gpu, expected):
    monkeypatch.setattr(choice, "_may_have_gpu", lambda: gpu)
    assert choice._on_cpu(device) is expected


def test_a_backend_that_isnt_there(model):
    with pytest.raises(ConfigError, match="--backend is tpu: choose from auto, torch, onnx"):
        open_backend(model, backend=cast(BackendName, "tpu"))


def test_without_pytorch(model, run, tmp_path, monkeypatch):
    for name in ("torch", "redoseg.models.backends.torch", "redoseg.models.model", "redoseg.tensors"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(
        choice, "find_spec", lambda name: None if name == "torch" else importlib.util.find_spec(name)
    )
    assert kind(open_backend(model)) == "onnx"
    assert kind(open_backend(run.path)) == "onnx"
    others: tuple[dict[str, Any], ...] = ({"checkpoint": "1"}, {"weights": "raw"})
    for options in others:
        with pytest.raises(
            MissingExtraError, match=r"has no mask\.onnx of these weights, and .*PyTorch is needed"
        ):
            open_backend(run.path, **options)


# The hub


@pytest.fixture
def repository(model, monkeypatch, tmp_path):
    """A hub that has the model as someone/squares; each call to it, with the commit that was asked for."""
    calls, f = [], load_model(model).f

    def model_info(self, name, **options):
        calls.append(("info", name, None))
        siblings = [SimpleNamespace(rfilename=file.name) for file in model.iterdir()]
        return SimpleNamespace(sha="c0ffee", siblings=siblings)

    def download(name, file, *, revision, local_files_only):
        calls.append((file, name, revision))
        return str(model / file)

    def pretrained(name, *, strict, revision, local_files_only):
        calls.append(("weights", name, revision))
        return f

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("redoseg.models.model.MaskNetwork.from_pretrained", pretrained)
    return calls


@pytest.mark.parametrize(
    ("backend", "fetched"), [("auto", ["config.json", "mask.onnx"]), ("torch", ["weights"])]
)
def test_the_hub_is_asked_once_and_files_are_of_the_commit_that_it_named(repository, backend, fetched):
    assert kind(open_backend("someone/squares", backend=backend, device="cpu")) in ("onnx", "torch")
    assert repository[0] == ("info", "someone/squares", None)
    assert repository[1:] == [(file, "someone/squares", "c0ffee") for file in fetched]


def test_a_hub_that_doesnt_answer_is_asked_once(monkeypatch, tmp_path):
    asked, real = [], huggingface_hub.HfApi.model_info

    def model_info(self, *arguments, **options):
        asked.append(arguments)
        return real(self, *arguments, **options)

    def refuse(*arguments, **options):
        raise OSError("[Errno -2] Name or service not known")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits to try again"))
    for backend in ("auto", "torch", "onnx"):
        with pytest.raises(
            ModelError, match=r"^'runs/x' is no folder here, and the hub gave no model \(.*known\)"
        ):
            open_backend("runs/x", backend=backend)
    assert asked == [("runs/x",)] * 3


@pytest.mark.parametrize(("name", "value"), [("size", 2), ("size", 33), ("size", 10**9), ("n", 1)])
def test_what_no_network_has_is_refused(model, monkeypatch, name, value):
    sound = open_backend(model, backend="onnx")
    monkeypatch.setattr(choice, "_open", lambda *arguments: dataclasses.replace(sound, **{name: value}))
    with refusal(ModelError, match="is damaged: it states"):
        Segmenter.from_pretrained(model)
