"""f alone on labelled images: it learns them, stops where held-out ones say, and is the same for a seed."""

import dataclasses

import numpy as np
import pytest
import torch

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_dataset
from redoseg.errors import DataError
from redoseg.evaluation.metrics import as_labelled, confusion
from redoseg.training import supervised
from redoseg.training.supervised import BATCH, fit
from refusals import refusal

pytestmark = pytest.mark.training

CONFIG = TrainConfig.of(data="digit", out="unused", size=32, f_width=8, f_blocks=1, flip=False, device="cpu")


@pytest.fixture(scope="module")
def scenes():
    return open_dataset(("digit",), size=32)


def pair(scenes, count, split="train"):
    rows = np.arange(count)
    return scenes.splits[split].images(rows), scenes.splits[split].labels(rows)


def score(f, given):
    """By our own forward pass: channel 1 above a half is the object."""
    images = torch.from_numpy(given[0]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        masks = f(images).numpy()
    return as_labelled(confusion((masks[:, 1] > 0.5).astype(np.uint8), given[1], 2))


def weights(fitted):
    return torch.cat([p.flatten() for p in fitted.f.parameters()])


def test_two_scenes_are_learned_by_heart(scenes):
    two = pair(scenes, 2)
    fitted = fit(CONFIG, two, two, seed=0, steps=200)
    assert fitted.scores.iou > 0.9
    assert score(fitted.f, two).iou == pytest.approx(fitted.scores.iou, abs=1e-6)


@pytest.mark.slow
def test_more_labels_are_better_on_others(scenes):
    held_out, others = pair(scenes, 40, "val"), pair(scenes, 100, "test")
    found = [
        score(fit(CONFIG, pair(scenes, count), held_out, seed=0, steps=150).f, others).iou
        for count in (1, 64)
    ]
    assert found[1] > found[0] + 0.05


def test_the_best_checks_weights_are_kept(scenes, monkeypatch):
    """Held-out scores that rise, fall, and would rise again too late."""
    real = supervised._scores
    seen: list[dict[str, torch.Tensor]] = []

    def scores(student, held_out):
        told = (0.2, 0.5, 0.4, 0.3, 0.9)[len(seen)]
        seen.append({name: tensor.clone() for name, tensor in student.f.state_dict().items()})
        return dataclasses.replace(real(student, held_out), iou=told)

    monkeypatch.setattr(supervised, "_scores", scores)
    fitted = fit(CONFIG, pair(scenes, 4), pair(scenes, 4, "val"), seed=0, steps=50, check_every=5, patience=2)
    assert [(step, iou) for step, _, iou in fitted.curve] == [(5, 0.2), (10, 0.5), (15, 0.4), (20, 0.3)]
    assert (fitted.step, fitted.scores.iou) == (10, 0.5)
    kept = fitted.f.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in seen[1].items())
    assert not all(torch.equal(kept[name], tensor) for name, tensor in seen[2].items())
    assert not fitted.f.training


def test_the_last_step_is_checked_whatever_the_interval(scenes):
    some = pair(scenes, 3)
    curve = fit(CONFIG, some, some, seed=0, steps=7, check_every=5).curve
    assert [step for step, _, _ in curve] == [5, 7]
    assert curve[1][1] < curve[0][1]  # the loss


def test_the_same_seed_is_the_same_fit(scenes):
    some, held_out = pair(scenes, BATCH + 1), pair(scenes, 3, "val")
    before = torch.get_rng_state()
    one, again, other = (fit(CONFIG, some, held_out, seed=seed, steps=6) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights(one), weights(again))
    assert one.curve == again.curve
    assert not torch.equal(weights(one), weights(other))


def test_what_has_no_label_is_not_learned(scenes):
    """With 255 in place of the background there is nothing that says what isn't a digit."""
    images, labels = pair(scenes, 4)
    labels = np.where(labels == 0, 255, labels).astype(np.uint8)
    fitted = fit(CONFIG, (images, labels), (images, labels), seed=0, steps=60)
    with torch.no_grad():
        masks = fitted.f(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert (masks[:, 1] > 0.5).float().mean() > 0.9  # the digits alone cover a seventh


def test_three_regions_and_one_image(scenes):
    images, labels = pair(scenes, 1)
    labels[:, :8] = 2
    three = dataclasses.replace(CONFIG, n=3, flip=True)
    fitted = fit(three, (images, labels), (images, labels), seed=0, steps=60)
    assert fitted.scores.accuracy > 0.8
    assert len(fitted.scores.regions) == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda images, labels: (images[:0], labels[:0]), "give at least one"),
        (lambda images, labels: (images, labels[:1]), r"\(N, S, S, 3\) and \(N, S, S\) with S = 32"),
        (lambda images, labels: (images[:, :16], labels[:, :16]), "with S = 32"),
        (lambda images, labels: (images, np.full_like(labels, 255)), "no labelled pixel"),
        (lambda images, labels: (images, 2 * labels), "labels up to 2, but --n 2 means 0 to 1"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_arrays_that_do_not_fit_are_one_line(scenes, change, text, place):
    given = [pair(scenes, 2), pair(scenes, 2)]
    given[place] = change(*given[place])
    with refusal(DataError, match=text) as caught:
        fit(CONFIG, *given, seed=0, steps=1)
    assert ("to train on", "held out")[place] in str(caught.value)
