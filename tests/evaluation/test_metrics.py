import json
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from redoseg.data.labels import UNLABELLED
from redoseg.evaluation.metrics import (
    as_labelled,
    confusion,
    count_scored,
    matching,
    objects_matched,
    per_dataset,
    per_image,
)


def random_maps(n, images=12, seed=0, agreement=0.4):
    """Regions and labels that agree in part, some labels rare, some pixels unlabelled."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.ones(n), images)
    truth = np.stack([rng.choice(n, (9, 7), p=p) for p in share]).astype(np.uint8)
    predicted = np.where(
        rng.random(truth.shape) < agreement, (truth + 1) % n, rng.integers(0, n, truth.shape)
    )
    truth[rng.random(truth.shape) < 0.1] = UNLABELLED
    return predicted, truth


def maps(*rows):
    """Hand-made images, one row of pixels each: (B, 1, W)."""
    return np.array(rows, np.uint8)[:, None]


def referee(predicted, truth, n):
    """accuracy, IoU of each label, per scikit-learn, of one image whose regions are labels."""
    seen = truth != UNLABELLED
    iou = jaccard_score(truth[seen], predicted[seen], labels=range(n), average=None, zero_division=1)
    return accuracy_score(truth[seen], predicted[seen]), iou


def every_matching(predicted, truth, n):
    """The referee's scores of one image under all n! matchings; row r of `rename` is region r's label."""
    return [referee(np.array(rename)[predicted], truth, n) for rename in permutations(range(n))]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_confusion_is_scikit_learns_transposed(n):
    predicted, truth = random_maps(n)
    for counts, p, t in zip(confusion(predicted, truth, n), predicted, truth, strict=True):
        seen = t != UNLABELLED
        np.testing.assert_array_equal(counts, confusion_matrix(t[seen], p[seen], labels=range(n)).T)


def test_confusion_does_not_depend_on_how_many_images_are_counted_at_once(monkeypatch):
    predicted, truth = random_maps(3)
    whole = confusion(predicted, truth, 3)
    monkeypatch.setattr("redoseg.evaluation.metrics._PIXELS_AT_ONCE", 5 * truth[0].size)
    np.testing.assert_array_equal(confusion(predicted, truth, 3), whole)


def test_confusion_takes_the_highest_label_there_is():
    truth = maps([0, 254, 255])
    counts = confusion(truth.astype(np.int64).clip(0, 254), truth, 255)
    assert counts.sum() == counts[0, 0, 0] + counts[0, 254, 254] == 2


@pytest.mark.parametrize("n", [2, 3, 4])
def test_as_labelled_agrees_with_scikit_learn(n):
    predicted, truth = random_maps(n)
    scores = as_labelled(confusion(predicted, truth, n))
    accuracy, iou = zip(*(referee(p, t, n) for p, t in zip(predicted, truth, strict=True)), strict=True)
    assert scores.accuracy == pytest.approx(np.mean(accuracy))
    assert scores.regions == pytest.approx(np.mean(iou, 0))
    assert scores.iou == pytest.approx(np.mean(iou, 0)[1:].mean())
    assert scores.mean_iou == pytest.approx(np.mean(iou))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_as_labelled_agrees_with_torchmetrics(n):
    rng = np.random.default_rng(n)
    predicted, truth = rng.integers(0, n, (2, 6, 16, 16))  # every label in every image: no rule for absence
    truth[:, 0] = UNLABELLED
    options = {"num_classes": n, "ignore_index": UNLABELLED}
    accuracy, iou = [], []
    for p, t in zip(torch.from_numpy(predicted), torch.from_numpy(truth), strict=True):
        accuracy.append(float(multiclass_accuracy(p[None], t[None], average="micro", **options)))
        iou.append(multiclass_jaccard_index(p[None], t[None], average="none", **options)[:n].numpy())
    scores = as_labelled(confusion(predicted, truth.astype(np.uint8), n))
    assert scores.accuracy == pytest.approx(np.mean(accuracy), rel=1e-5)
    assert scores.regions == pytest.approx(np.mean(iou, 0), rel=1e-5)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_per_image_is_the_best_of_all_permutations_for_each_metric(n, seed):
    predicted, truth = random_maps(n, images=6, seed=seed)
    scores = per_image(confusion(predicted, truth, n))
    tried = [every_matching(p, t, n) for p, t in zip(predicted, truth, strict=True)]
    best_regions = [max((iou for _, iou in image), key=np.mean) for image in tried]
    assert scores.accuracy == pytest.approx(np.mean([max(a for a, _ in image) for image in tried]))
    assert scores.iou == pytest.approx(np.mean([max(iou[1:].mean() for _, iou in image) for image in tried]))
    assert scores.mean_iou == pytest.approx(np.mean(best_regions))
    assert scores.regions == pytest.approx(np.mean(best_regions, 0))


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_per_dataset_is_the_permutation_with_the_most_correct_pixels(n, seed):
    predicted, truth = random_maps(n, seed=seed)
    seen = truth != UNLABELLED
    rename = max(permutations(range(n)), key=lambda to: (np.array(to)[predicted] == truth)[seen].sum())
    counts = confusion(predicted, truth, n)
    assert tuple(matching(counts.sum(0))) == rename
    assert per_dataset(counts) == as_labelled(confusion(np.array(rename)[predicted], truth, n))


def test_per_dataset_weighs_pixels_for_the_matching_and_images_for_the_mean():
    big, small = maps([0] * 6 + [1] * 6), maps([1] * 2 + [0] * 10)
    truth = maps([0] * 6 + [1] * 6, [0] * 2 + [1] * 2 + [UNLABELLED] * 8)
    counts = confusion(np.concatenate([big, small]), truth, 2)
    assert per_dataset(counts).iou == per_dataset(counts).accuracy == 0.5
    assert per_image(counts).iou == 1


@pytest.mark.parametrize("n", [2, 3, 4])
def test_per_image_is_never_below_per_dataset(n):
    predicted, truth = random_maps(n, images=40)
    counts = confusion(predicted, truth, n)
    flattering, honest = per_image(counts), per_dataset(counts)
    assert flattering.accuracy >= honest.accuracy
    assert flattering.iou >= honest.iou
    assert flattering.mean_iou >= honest.mean_iou


def test_scores_do_not_depend_on_the_order_of_regions():
    predicted, truth = random_maps(4)
    counts, renamed = confusion(predicted, truth, 4), confusion(np.array([2, 0, 3, 1])[predicted], truth, 4)
    assert per_dataset(counts) == per_dataset(renamed)
    assert per_image(counts).mean_iou == pytest.approx(per_image(renamed).mean_iou)


@pytest.mark.parametrize("empty", [0, 1])
def test_a_collapsed_model_scores_the_objects_share_per_image(empty):
    truth = maps([0] * 8 + [1] * 2, [0] * 3 + [1] * 7)
    counts = confusion(np.full_like(truth, 1 - empty), truth, 2)
    assert per_image(counts).iou == pytest.approx((0.2 + 0.7) / 2)
    assert per_image(counts).accuracy == pytest.approx((0.8 + 0.7) / 2)
    assert (
        per_dataset(counts).iou == 0
    )  # background covers more of the set: the object's region is the empty one
    assert per_dataset(counts).accuracy == pytest.approx((0.8 + 0.3) / 2)


@pytest.mark.parametrize("score", [per_image, per_dataset])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_perfect_and_renamed_predictions_score_one(score, n):
    _, truth = random_maps(n)
    renamed = np.roll(np.arange(n), 1)[truth % n]
    assert score(confusion(renamed, truth, n)).as_dict() == {
        "accuracy": 1.0,
        "iou": 1.0,
        "mean_iou": 1.0,
        "regions": [1.0] * n,
    }


def test_an_object_absent_from_truth_and_prediction_counts_one():
    scores = as_labelled(confusion(maps([0, 0, 1], [0, 0, 0]), maps([0, 1, 0], [0, 0, 0]), 2))
    assert scores.regions == pytest.approx(((1 / 3 + 1) / 2, (0 + 1) / 2))
    assert scores.iou == pytest.approx(0.5)


def test_an_object_absent_from_truth_alone_counts_zero():
    assert as_labelled(confusion(maps([0, 0, 1]), maps([0, 0, 0]), 2)).regions == pytest.approx((2 / 3, 0))


def test_unlabelled_pixels_count_nowhere():
    predicted, truth = maps([0, 1, 1, 0], [1, 0, 0, 1]), maps([0, 1, 255, 255], [1, 0, 255, 255])
    counts = confusion(predicted, truth, 2)
    assert counts.sum() == 4
    assert as_labelled(counts).accuracy == as_labelled(counts).iou == 1


@pytest.mark.parametrize("score", [per_image, per_dataset, as_labelled])
def test_an_image_without_labels_is_left_out_of_every_mean(score):
    predicted, truth = random_maps(3)
    alone = confusion(predicted, truth, 3)
    blank = np.full_like(truth[:2], UNLABELLED)
    counts = confusion(np.concatenate([predicted, predicted[:2]]), np.concatenate([truth, blank]), 3)
    assert count_scored(counts) == count_scored(alone) == len(truth) == len(counts) - 2
    assert score(counts) == score(alone)


@pytest.mark.parametrize("score", [per_image, per_dataset, as_labelled])
def test_nothing_labelled_cannot_be_scored(score):
    blank = np.full((2, 3, 3), UNLABELLED, np.uint8)
    counts = confusion(np.zeros_like(blank), blank, 2)
    assert count_scored(counts) == 0
    for nothing in counts, counts[:0]:
        with pytest.raises(ValueError, match="no image has a labelled pixel"):
            score(nothing)


def test_scores_go_through_json():
    predicted, truth = random_maps(3)
    scores = per_image(confusion(predicted, truth, 3))
    back = json.loads(json.dumps(scores.as_dict()))
    assert back == {
        "accuracy": scores.accuracy,
        "iou": scores.iou,
        "mean_iou": scores.mean_iou,
        "regions": list(scores.regions),
    }
    assert list(back) == ["accuracy", "iou", "mean_iou", "regions"]


GOOD = np.zeros((2, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("predicted", "truth", "n", "says"),
    [
        (GOOD[0], GOOD[0], 2, r"must have one shape, \(B, H, W\)"),
        (GOOD[:1], GOOD, 2, "must have one shape"),
        (GOOD.astype(float), GOOD, 2, "take argmax"),
        (GOOD.astype(bool), GOOD, 2, "astype"),
        (GOOD, GOOD.astype(int), 2, "truth must be uint8"),
        (GOOD + 2, GOOD, 2, r"predicted must be 0\.\.1, found 2\.\.2"),
        (GOOD.astype(int) - 1, GOOD, 2, r"found -1\.\.-1"),
        (GOOD, GOOD + 2, 2, "truth holds label 2"),
        (GOOD, GOOD, 1, "need 2 to 255 labels"),
        (GOOD, GOOD, 256, "need 2 to 255 labels"),
    ],
)
def test_confusion_refuses_what_it_cannot_count(predicted, truth, n, says):
    with pytest.raises(ValueError, match=says):
        confusion(predicted, truth, n)


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (np.ones((2, 2), int), "pass what confusion"),
        (np.ones((1, 2, 3), int), "pass what confusion"),
        (np.ones((1, 1, 1), int), "n >= 2"),
        (np.ones((1, 2, 2)), "not normalised"),
        (-np.ones((1, 2, 2), int), "integers from 0"),
    ],
)
@pytest.mark.parametrize("score", [per_image, per_dataset, as_labelled, count_scored])
def test_scores_refuse_what_is_not_counts(score, counts, says):
    with pytest.raises(ValueError, match=says):
        score(counts)


def test_matching_refuses_counts_not_summed():
    with pytest.raises(ValueError, match=r"pass counts\.sum\(0\)"):
        matching(np.ones((3, 2, 2), int))


def test_objects_are_matched_and_the_background_is_not():
    counts = np.array([[[1, 5, 0], [6, 0, 4], [0, 7, 1]]])
    np.testing.assert_array_equal(objects_matched(counts), [[[1, 5, 0], [0, 7, 1], [6, 0, 4]]])
    inverted = np.array([[[1, 9], [9, 1]]])
    np.testing.assert_array_equal(objects_matched(inverted), inverted)
