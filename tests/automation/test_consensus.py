"""Whether beginnings that know nothing of each other have found the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import cohen_kappa_score
from torch import nn

from redoseg.automation import consensus
from redoseg.automation.consensus import with_consensus
from redoseg.automation.folder import AutoFolder, Plan
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import open_dataset
from redoseg.files import write_json
from redoseg.label_free.verdict import Verdict

PLAN = Plan({"disc": "first:disc", "boxes": "first:boxes", "clusters": "first:clusters"}, 9, 1, 1, 2, 4, 1.0)


@pytest.fixture
def config(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(9):
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(
            tmp_path / "photos" / f"{index}.png"
        )
    return AutoConfig(
        data=(str(tmp_path / "photos"),), out=tmp_path / "run", device="cpu", cache=tmp_path / "cache"
    )


class Brighter(nn.Module):
    """The object is where a channel is brighter than a threshold."""

    def __init__(self, channel, threshold):
        super().__init__()
        self.channel, self.threshold = channel, threshold

    def ordered_masks(self, images):
        objects = (images[:, self.channel : self.channel + 1] > self.threshold).float()
        return torch.cat((1 - objects, objects), 1)


def found_by(monkeypatch, scores=(), **students):
    """Students find what they are given, each with a score of its own, .4 by default."""
    monkeypatch.setattr(consensus, "load_model", lambda path, device: SimpleNamespace(f=students[path.name]))
    known = dict(scores)
    monkeypatch.setattr(consensus, "verdict_of", lambda run: Verdict(known.get(run.path.name, 0.4), 0.9))


def asked(config, kept, **scores):
    return with_consensus(Verdict(0.4, 0.9), config, AutoFolder(config.out), PLAN, scores, kept)


def test_it_is_cohens_kappa_with_the_beginning_that_agrees_best(config, monkeypatch):
    kept, near, far = Brighter(0, 0.1), Brighter(0, 0.4), Brighter(1, 0.0)
    found_by(monkeypatch, **{"round-2": kept, "disc": near, "boxes": kept, "clusters": far})
    verdict = asked(config, "round-2", disc=0.2, boxes=0.4, clusters=0.1, **{"round-2": 0.5})
    photos = open_dataset(config.data, size=64, cache=config.cache).split("train")
    reds = photos.images(np.arange(9))[..., 0].ravel() / 127.5 - 1
    assert verdict.agreed == pytest.approx(cohen_kappa_score(reds > 0.1, reds > 0.4), abs=1e-3)
    assert not verdict.alone


def test_a_round_isnt_asked_whether_it_agrees_with_its_own_teacher(config, monkeypatch):
    """Which needn't be the best by now, if an earlier version began the rounds."""
    kept, near, far = Brighter(0, 0.1), Brighter(0, 0.15), Brighter(1, 0.0)
    found_by(monkeypatch, **{"round-2": kept, "disc": near, "boxes": far, "clusters": far})
    folder = AutoFolder(config.out)
    scores = {"disc": 0.2, "boxes": 0.4, "clusters": 0.1, "round-2": 0.5}
    best = asked(config, "round-2", **scores)
    assert best.agreed > 0.8  # with disc
    folder.student("round-2").mkdir(parents=True)
    taught = {"distill": {"run": str(folder.student("disc"))}}
    write_json(folder.student("round-2") / "run.json", taught)
    assert asked(config, "round-2", **scores).agreed < 0.3


def test_beginnings_that_found_nothing_are_not_asked(config, monkeypatch):
    kept, near, far = Brighter(0, 0.1), Brighter(0, 0.4), Brighter(1, 0.0)
    found_by(monkeypatch, {"disc": 0.05}, **{"disc": near, "boxes": kept, "clusters": far})
    verdict = asked(config, "boxes", disc=0.05, boxes=0.4, clusters=0.2)
    assert verdict.agreed < 0.3  # that of clusters
    assert verdict.found == "not found"
    assert "each beginning finds something else" in verdict.text


def test_what_one_beginning_alone_has_found_is_doubtful(config, monkeypatch):
    found_by(monkeypatch, {"disc": 0.05, "clusters": 0.01})
    verdict = asked(config, "boxes", disc=0.05, boxes=0.4, clusters=0.01)
    assert (verdict.agreed, verdict.alone, verdict.found) == (None, True, "doubtful")
    assert "no other beginning has found anything" in verdict.text
    assert Verdict.from_json(verdict.as_json()) == verdict


def test_a_single_beginning_agrees_with_nobody(config, monkeypatch):
    found_by(monkeypatch)
    verdict = asked(config, "boxes", disc=-1.0, boxes=0.4, clusters=-1.0)
    assert verdict == Verdict(0.4, 0.9)
    assert verdict.found == "found"


@pytest.mark.parametrize(("agreed", "found"), [(None, "doubtful"), (0.6, "doubtful"), (0.5, "not found")])
def test_where_no_other_beginning_finds_the_same_a_doubtful_object_is_none(agreed, found):
    verdict = Verdict(0.2, 0.9, agreed, steady=0.62)
    assert verdict.found == found
    assert Verdict.from_json(verdict.as_json()) == verdict
    assert ("agreement of beginnings" in verdict.text) == (agreed is not None)


@pytest.mark.parametrize(("agreed", "found"), [(None, "found"), (0.6, "found"), (0.5, "doubtful")])
def test_and_any_other_is_doubtful(agreed, found):
    assert Verdict(0.8, 0.9, agreed, steady=0.62).found == found
