"""Files that are whole or not there."""

import json
import os
import stat

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dead_process import of_a_dead_process
from redoseg.errors import ModelError
from redoseg.files import (
    aside_of,
    leftovers,
    read_json,
    remove,
    write_aside,
    write_folder_aside,
    write_json,
)
from redoseg.models.weights import load_tensors, save_tensors
from refusals import refusal

INFO = {"step": 3, "best": None, "restarts": [{"reason": "größer"}], "seconds": 0.1}


class Killed(BaseException):
    pass


# Written aside, then renamed


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "some" / "folder" / "file"

    def write(aside):
        assert aside.parent == path.parent
        assert not path.exists()
        aside.write_text("whole")
        assert not path.exists()

    write_aside(path, write)
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Killed])
def test_what_was_there_survives_a_failed_write(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def write(aside):
        aside.write_text("ne")
        raise error

    with pytest.raises(error):
        write_aside(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_folder_that_fails_leaves_the_old_one_and_nothing_beside_it(tmp_path, error):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()

    def write(aside):
        aside.mkdir()
        (aside / "new").touch()
        raise error

    with pytest.raises(error):
        write_folder_aside(tmp_path / "model", write)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old"]


def test_what_killed_writes_left_is_removed_and_nothing_else(tmp_path):
    folder, file = (of_a_dead_process(tmp_path / name) for name in ("model", "run.json"))
    (folder / "new").mkdir(parents=True)
    file.touch()
    others = [aside_of(tmp_path / "last.safetensors"), tmp_path / ".hidden", tmp_path / "notes.txt"]
    for other in others:
        other.touch()
    remove(leftovers(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_leftovers_are_what_a_killed_write_leaves(tmp_path, monkeypatch):
    def replace(aside, path):
        os.link(aside, aside.with_name(f"{aside.name}0"))  # as if another process had died here
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("redoseg.files.os.replace", replace)
        with pytest.raises(Killed):
            write_json(tmp_path / "run.json", {})
    (torn,) = tmp_path.iterdir()
    for name in ("run.json", ".hidden", ".mine.txt", "step-0000001.png", "notes.2", ".3"):
        (tmp_path / name).touch()
    assert leftovers(tmp_path) == [torn]
    assert leftovers(tmp_path / "nowhere") == []


# JSON


@pytest.mark.parametrize("content", [INFO, [], [1, 2.5, None], "text", {"a": {"b": [True]}}])
def test_json_comes_back(tmp_path, content):
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text().endswith("\n")


@pytest.mark.parametrize("content", [float("nan"), {"a": float("inf")}, {"a": {1, 2}}])
def test_what_is_no_json_is_not_written(tmp_path, content):
    write_json(tmp_path / "a.json", "old")
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == "old"


@pytest.mark.parametrize("content", [None, b"", b"{", b"{'a': 1}", b"\xff\xfe", b"nul\0"])
def test_json_that_cant_be_read_is_one_line(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with refusal(ModelError, match=r"a\.json can't be read \(.+\)$"):
        read_json(path)


# Tensors


def tensors():
    random = torch.Generator().manual_seed(0)
    return {
        "f.weight": torch.randn(3, 4, 5, generator=random),
        "f.turned": torch.randn(3, 4, generator=random).T,
        "f.half": torch.randn(7, generator=random).bfloat16(),
        "f.order": torch.arange(3),
        "G.scalar": torch.tensor(2.0),
        "G.empty": torch.zeros(0, 3),
        "G.odd": torch.tensor([float("nan"), -0.0, float("inf"), 1e-45]),
        "G.learned": torch.nn.Parameter(torch.ones(2)),
    }


def bits(tensor):
    return tensor.detach().contiguous().view(torch.uint8).numpy() if tensor.numel() else tensor.shape


def test_tensors_and_json_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "checkpoints" / "a.safetensors"
    save_tensors(path, tensors(), INFO)
    found, info = load_tensors(path)
    assert info == INFO
    assert found.keys() == tensors().keys()
    for name, expected in tensors().items():
        assert found[name].shape == expected.shape
        assert found[name].dtype == expected.dtype
        assert not found[name].requires_grad
        if expected.ndim:
            np.testing.assert_array_equal(bits(found[name]), bits(expected), err_msg=name)
        else:
            assert found[name] == expected
    assert list(path.parent.iterdir()) == [path]


def test_some_tensors_are_read_by_their_beginnings(tmp_path):
    save_tensors(tmp_path / "a", tensors(), INFO)
    assert load_tensors(tmp_path / "a", ("G.",))[0].keys() == {n for n in tensors() if n[0] == "G"}
    assert load_tensors(tmp_path / "a", ("f.order", "G.e"))[0].keys() == {"f.order", "G.empty"}
    nothing, info = load_tensors(tmp_path / "a", ("none",))
    assert nothing == {}
    assert info == INFO


def test_what_is_loaded_outlives_the_file(tmp_path):
    save_tensors(tmp_path / "a", {"x": torch.arange(5)}, {})
    found, _ = load_tensors(tmp_path / "a")
    save_tensors(tmp_path / "a", {"x": torch.zeros(5)}, {})
    (tmp_path / "a").unlink()
    assert found["x"].tolist() == [0, 1, 2, 3, 4]


def test_others_may_read_what_they_may_read(tmp_path):
    """The same permissions as any file's: a colleague can use a run's checkpoints."""
    save_tensors(tmp_path / "a", {"x": torch.zeros(1)}, {})
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "plain")}
    assert len(modes) == 1


def test_numbers_that_json_doesnt_know_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        save_tensors(tmp_path / "a", {"x": torch.zeros(1)}, {"iou": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:50]),
        lambda path: path.write_bytes(b"\xff" * 1000),
        lambda path: path.write_bytes(b"a page of text" * 10),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: save_file({"x": torch.zeros(1)}, path),
        lambda path: save_file({"x": torch.zeros(1)}, path, {"redoseg": "{"}),
        lambda path: torch.save({"x": torch.zeros(1)}, path),
    ],
    ids=["none", "empty", "cut", "head", "noise", "text", "folder", "foreign", "torn", "pickle"],
)
def test_what_is_no_checkpoint_is_one_line(tmp_path, damage):
    path = tmp_path / "last.safetensors"
    save_tensors(path, tensors(), INFO)
    damage(path)
    with refusal(ModelError, match=r"last\.safetensors is no checkpoint of redoseg, or it is dam"):
        load_tensors(path)


def test_a_checkpoint_is_tensors_and_json_and_nothing_else(tmp_path):
    """Eight bytes for the header's length, the header, then the tensors' bytes: nothing that could run."""
    save_tensors(tmp_path / "a", {"x": torch.arange(4, dtype=torch.uint8)}, INFO)
    content = (tmp_path / "a").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert json.loads(header.pop("__metadata__")["redoseg"]) == INFO
    assert header == {"x": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}
    assert content[8 + length :] == bytes([0, 1, 2, 3])
