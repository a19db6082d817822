"""What is said of masks without a label: known failures by name, on recorded runs among others."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import cohen_kappa_score
from torch import nn

from redoseg.config import TrainConfig
from redoseg.label_free.measures import contained
from redoseg.label_free.signals import Signals, find_regions, label_free_score, steadiness
from redoseg.label_free.trouble import trouble
from redoseg.label_free.verdict import Verdict
from redoseg.networks.mask import MaskNetwork
from redoseg.training.verdict import judge

RESULTS = Path(__file__).parents[2] / "results/rule"
GAME = RESULTS.parent / "folders/game-butterflies-300"
SOUND = Signals((0.7, 0.3), 0.2, 0.05, 0.9, 0.6, 1.0, 0.3, 0.9, 0.9, 0.6, 0.8)


def recorded():
    """(IoU, signals) of the last checkpoint of each recorded run."""
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for part in ("chosen-on", "held-out"):
        table = json.loads((RESULTS / part / "signals.json").read_text())
        for values in table["rows"]:
            row = dict(zip(table["columns"], values, strict=True))
            key = (row["data"], row["run"])
            if key not in last or row["step"] > last[key]["step"]:
                last[key] = row
    return [(row["iou"], Signals.from_dict(signals_in(row))) for row in last.values()]


def signals_in(row):
    return {name.removeprefix("signals."): row[name] for name in row if name.startswith("signals.")}


def test_recorded_runs_that_found_nothing_say_why():
    runs = recorded()
    assert len(runs) == 53
    failed = [(signals, trouble(signals)) for iou, signals in runs if iou < 0.35]
    assert len(failed) == 16
    assert all(why is not None and label_free_score(signals) < 0.1 for signals, why in failed)
    kinds = {" ".join(why.split()[:3]) for _, why in failed}
    assert kinds == {"it would cover", "the masks follow", "no region stands", "the masks are"}


def test_recorded_runs_that_found_the_object_show_no_trouble():
    found = [signals for iou, signals in recorded() if iou > 0.7]
    assert len(found) == 14
    assert [trouble(signals) for signals in found] == [None] * len(found)


def test_a_recorded_game_that_became_the_whole_picture_is_known_from_its_first_checkpoint():
    """The game of 300 butterflies (docs/auto.md): never an object, and in the end one region has all."""
    lines = [json.loads(line) for line in (GAME / "metrics.jsonl").read_text().splitlines()]
    first = [Signals.from_dict(line["signals"]) for line in lines if line["restarts"] == 0]
    assert len(first) == 7
    found = [Verdict(label_free_score(one), 1.0, trouble=trouble(one)) for one in first]
    assert {verdict.found for verdict in found} == {"not found"}
    assert all(verdict.trouble is not None for verdict in found)
    assert found[-1].text.startswith("no object was found: it would cover 92% of the photos (")
    assert first[-1].border < TrainConfig.collapse_border  # so it went on until the check after


def test_a_recorded_game_that_lost_its_object_is_known_although_it_was_on_the_way():
    """The game of 300 flowers (docs/auto.md): its masks, .638 at step 1,500, were .019 at 3,500."""
    file = GAME.parent / "game-flowers-300/metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    signals = [Signals.from_dict(line["signals"]) for line in lines]
    scores = [label_free_score(one) for one in signals]
    assert max(range(len(scores)), key=scores.__getitem__) == [line["step"] for line in lines].index(1500)
    last = Verdict(scores[-1], 1.0, trouble=trouble(signals[-1]))
    assert last.text.startswith("no object was found: it would cover 87% of the photos (")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"sizes": (0.96, 0.04)}, "it would cover 4% of the photos"),
        ({"sizes": (0.04, 0.96)}, "it would cover 96% of the photos"),
        ({"variation": 0.004}, "the masks are the same for all photos"),
        ({"confidence": 0.1}, "the masks are grey"),
        (
            {"sizes": (0.3, 0.7), "border": 0.8},
            "the object would be the whole picture, with 80% of its border",
        ),
        ({"sizes": (0.5, 0.5), "border": 0.5}, "no region stands apart"),
        ({"brightness": 0.7, "swapped": -0.4}, "the masks follow light and dark"),
        ({"brightness": 0.7, "swapped": 0.4}, None),  # light things: found in another light, too
        ({"outline": -0.3}, "the masks' outlines don't lie on edges"),
        ({"mirrored": 0.02}, "the masks are others when photos are mirrored"),
    ],
)
def test_each_failure_is_named(changed, said):
    found = trouble(replace(SOUND, **changed))
    assert found is None if said is None else found.startswith(said)


def test_things_that_are_everywhere_stand_apart():
    everywhere = replace(SOUND, sizes=(0.8, 0.2), border=0.2)
    assert trouble(everywhere) is not None
    assert trouble(everywhere, contained=0.9) is None
    assert label_free_score(everywhere) == 0
    assert label_free_score(everywhere, contained=0.9) == pytest.approx(0.9 * 0.6 * 0.9)
    assert label_free_score(SOUND, contained=0.2) == label_free_score(SOUND)


def test_contained_against_scipy():
    objects = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(40, 32, 32)), (0, 3, 3)) > 0.02
    inside = whole = 0
    for image in objects:
        pieces, _ = ndimage.label(image)
        for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
            area = (pieces == number).sum()
            whole += area
            inside += area * (rows.stop - rows.start < 32 and columns.stop - columns.start < 32)
    assert 0.1 < inside / whole < 0.9
    assert contained(torch.from_numpy(objects)) == pytest.approx(inside / whole)


def test_contained_of_simple_things():
    ring = torch.ones(1, 9, 9, dtype=torch.bool)
    ring[:, 3:6, 3:6] = False
    assert contained(ring) == 0
    assert contained(~ring) == 1
    assert contained(torch.cat((ring, ~ring))) == pytest.approx(9 / 81)
    corner = torch.zeros(1, 9, 9, dtype=torch.bool)
    corner[:, :4, :4] = True
    assert contained(corner) == 1
    assert contained(torch.zeros(2, 9, 9, dtype=torch.bool)) == 0


class Bright(MaskNetwork):
    """Two regions: what is bright, and the rest."""

    def __init__(self):
        nn.Module.__init__(self)

    def ordered_masks(self, images):
        objects = (images.mean(1) > 0).float()
        return torch.stack((1 - objects, objects), 1)


class Central(Bright):
    """As `Bright`, within the middle half of each side."""

    def ordered_masks(self, images):
        objects = super().ordered_masks(images)[:, 1]
        quarter = images.shape[-1] // 4
        middle = torch.zeros_like(objects)
        middle[:, quarter:-quarter, quarter:-quarter] = objects[:, quarter:-quarter, quarter:-quarter]
        return torch.stack((1 - middle, middle), 1)


def test_light_things_all_over_the_photos_are_no_failure_and_what_follows_light_is_named():
    config = TrainConfig.of(data="photos", out=Path("run"), size=32)
    random = np.random.default_rng(0)
    spots = ndimage.gaussian_filter(random.normal(size=(24, 64, 64)), (0, 3, 3))
    spots = torch.from_numpy(np.where(spots > 0.12, 0.8, -0.8)).float()[:, None].expand(-1, 3, -1, -1)
    verdict = judge(Bright(), spots + 0.02 * torch.randn(spots.shape), (0.2, 0.5), config)
    assert verdict.score > 0.5
    assert verdict.trouble == "the masks follow light and dark, not a thing"
    assert verdict.found == "found"
    assert "light and dark" not in verdict.text  # it doesn't speak against what stands apart
    shade = torch.linspace(-1, 1, 64).expand(24, 3, 64, 64)
    verdict = judge(Bright(), shade + 0.02 * torch.randn(24, 3, 64, 64), (0.2, 0.5), config)
    assert verdict.found == "not found"
    assert "no object was found: " in verdict.text


@pytest.mark.parametrize(("score", "found"), [(0.4, "doubtful"), (0.2, "not found")])
def test_what_no_other_beginning_supports_is_a_step_less(score, found):
    assert Verdict(score, 0.9).found != found
    assert Verdict(score, 0.9, agreed=0.54, steady=0.64).found == found
    assert Verdict(score, 0.9, alone=True).found == found
    assert Verdict(score, 0.9, agreed=0.56, steady=0.64).found == Verdict(score, 0.9).found


def test_masks_that_change_where_photos_are_cropped_are_a_further_doubt():
    assert Verdict(0.4, 0.9, agreed=0.5, steady=0.61).found == "doubtful"
    assert Verdict(0.4, 0.9, agreed=0.5, steady=0.59).found == "not found"
    assert "steadiness 0.59" in Verdict(0.4, 0.9, agreed=0.5, steady=0.59).text
    assert Verdict(0.6, 1.0, agreed=0.36, steady=0.9).found == "doubtful"
    assert Verdict(0.6, 1.0, agreed=0.34, steady=0.9).found == "not found"
    assert "each beginning finds something else" in Verdict(0.6, 1.0, agreed=0.34, steady=0.9).text
    assert Verdict(0.4, 0.9, alone=True, steady=0.59).found == "not found"
    assert Verdict(0.4, 0.9, agreed=0.7, steady=0.61).found == "found"
    assert Verdict(0.4, 0.9, agreed=0.7, steady=0.59).found == "doubtful"
    unsteady = Verdict(0.4, 0.9, agreed=0.7, steady=0.59)
    assert "doubtful: the masks are others where photos are cropped" in unsteady.text
    assert "steadiness 0.59" in unsteady.text
    assert Verdict(0.4, 0.9, steady=0.4).found == "found"


@pytest.mark.parametrize(("score", "sure"), [(0.2, 0.9), (0.5, 0.5), (0.12, 0.9)])
def test_what_beginnings_agree_on_is_doubtful_at_least_however_unsteady(score, sure):
    assert Verdict(score, sure, agreed=0.6, steady=0.59).found == "doubtful"
    assert Verdict(score, sure, agreed=0.6, steady=0.61).found == "doubtful"


def test_a_verdict_without_steadiness_is_neither_steady_nor_unsteady():
    """As an earlier version wrote it."""
    old = {"verdict": "doubtful", "score": 0.3, "sure": 0.9, "agreed": 0.5}
    assert Verdict.from_json(old).found == "doubtful"
    assert Verdict.from_json(old | {"agreed": 0.7}).found == "found"
    assert Verdict.from_json(Verdict.from_json(old).as_json()) == Verdict.from_json(old)


def test_steadiness_is_the_kappa_of_windows_and_whole_images():
    """Against sklearn, for an f that finds what is bright and one that finds what is bright in the middle."""
    images = torch.from_numpy(
        ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(6, 64, 64)), (0, 4, 4))
    )
    images = (images / images.std()).float()[:, None].expand(-1, 3, -1, -1)
    found = {}
    for f in (Bright(), Central()):
        whole, cut = f.ordered_masks(images).argmax(1), []
        seen = []
        for rows in (slice(0, 48), slice(16, 64)):
            for columns in (slice(0, 48), slice(16, 64)):
                window = torch.nn.functional.interpolate(images[..., rows, columns], size=64, mode="bilinear")
                cut.append(f.ordered_masks(window).argmax(1).numpy())
                nearest = np.arange(64) * 48 // 64
                seen.append(whole[:, rows, columns].numpy()[:, nearest][:, :, nearest])
        expected = cohen_kappa_score(np.ravel(seen), np.ravel(cut))
        found[type(f)] = steadiness(f, images, find_regions(f, images))
        assert found[type(f)] == pytest.approx(expected, abs=1e-6)
    assert found[Bright] > 0.9 > 0.6 > found[Central]


def test_where_beginnings_agree_well_a_lower_score_will_do():
    assert Verdict(0.16, 0.9, agreed=0.66).found == "found"
    assert Verdict(0.16, 0.9, agreed=0.64, steady=0.64).found == "doubtful"
    assert Verdict(0.16, 0.9).found == "doubtful"
    assert Verdict(0.14, 0.9, agreed=0.9).found == "doubtful"
    assert Verdict(0.16, 0.5, agreed=0.9).found == "doubtful"
    assert "few masks are sure" in Verdict(0.16, 0.5, agreed=0.9).text
    assert Verdict(0.09, 0.9, agreed=0.9).found == "not found"


def test_beginnings_that_agree_nearly_will_do_where_masks_are_very_steady():
    assert Verdict(0.16, 0.9, agreed=0.46, steady=0.66).found == "found"
    assert (
        "agreement of beginnings 0.46, steadiness 0.66" in Verdict(0.16, 0.9, agreed=0.46, steady=0.66).text
    )
    assert Verdict(0.14, 0.9, agreed=0.46, steady=0.66).found == "doubtful"
    assert Verdict(0.16, 0.9, agreed=0.46, steady=0.64).found == "not found"
    assert Verdict(0.16, 0.9, agreed=0.44, steady=0.66).found == "not found"
    assert Verdict(0.16, 0.5, agreed=0.46, steady=0.66).found == "doubtful"
    light = "the masks follow light and dark, not a thing"
    assert Verdict(0.16, 0.9, agreed=0.46, steady=0.9, trouble=light).found == "not found"


@pytest.mark.parametrize(
    ("framed", "others", "found"),
    [
        (0.09, {}, "found"),
        (0.1, {}, "doubtful"),
        (0.6, {"agreed": 0.9}, "doubtful"),
        (0.6, {"agreed": 0.9, "steady": 0.3}, "doubtful"),  # what agrees and is not steady is no less
        (0.6, {"alone": True}, "not found"),
    ],
)
def test_frames_take_a_step(framed, others, found):
    verdict = Verdict(0.5, 0.9, framed=framed, **others)
    assert verdict.found == found
    assert Verdict.from_json(verdict.as_json()) == verdict
    assert "steadiness" not in verdict.text


def test_the_line_says_what_decides():
    dark = "the masks follow light and dark, not a thing"
    assert dark in Verdict(0.05, 0.9, trouble=dark).text
    assert dark in Verdict(0.2, 0.9, trouble=dark).text
    assert "look little like an object's" in Verdict(0.05, 0.9).text
    assert "few masks are sure" in Verdict(0.4, 0.5, trouble=dark).text
    assert "each beginning finds something else" in Verdict(0.2, 0.9, 0.3, trouble=dark).text
    assert "no other beginning" in Verdict(0.4, 0.9, alone=True, trouble=dark).text
    assert "no other beginning" in Verdict(0.2, 0.9, alone=True, trouble=dark).text
    assert Verdict(0.4, 0.9, trouble=dark).text.startswith("an object was found: label-free score 0.40")
    assert Verdict(0.4, 0.9, trouble=dark).why == ""
