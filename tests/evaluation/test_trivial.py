import numpy as np
import pytest

from redoseg.data.labels import UNLABELLED
from redoseg.evaluation.trivial import disc, fixed_mask


def blobs(images=13, side=12, seed=0, unlabelled=0.1):
    """Discs of many sizes about the middle, as noisy labels 0 and 1; some pixels unlabelled."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    middle = side / 2 + rng.normal(0, side / 12, (2, images, 1, 1))
    radius = rng.uniform(side / 6, side / 2.5, (images, 1, 1))
    truth = ((y - middle[0]) ** 2 + (x - middle[1]) ** 2 < radius**2).astype(np.uint8)
    truth[rng.random(truth.shape) < unlabelled] = UNLABELLED
    return truth


def score(mask, image, n=2):
    """accuracy and the IoU of each label, of one label map on one image, spelt out."""
    seen = image != UNLABELLED
    accuracy = (mask == image)[seen].mean()
    ious = []
    for label in range(n):
        either = ((mask == label) | (image == label)) & seen
        ious.append(((mask == label) & (image == label))[either].mean() if either.any() else 1.0)
    return [accuracy, *ious]


def best(masks, half):
    return max(masks, key=lambda mask: np.mean([score(mask, image)[2] for image in half]))


def mean_truth(half):
    total, mean = (half != UNLABELLED).sum(0), np.zeros(half.shape[1:])
    np.divide((half == 1).sum(0), total, out=mean, where=total > 0)
    return mean


def slow_fixed_mask(half):
    return best([mean_truth(half) > t / 20 + 1e-9 for t in range(1, 20)], half)


def slow_disc(half):
    side = half.shape[1]
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return best([np.hypot(y, x) <= side * k / 64 + 1e-9 for k in range(46, 0, -1)], half)


def slow_majority(half):
    return np.argmax([(half == label).sum(0) for label in range(3)], 0)


def two_ways(truth, choose, n=2):
    cut = (len(truth) + 1) // 2
    first, second = truth[:cut], truth[cut:]
    rows = [score(choose(second), image, n) for image in first]
    rows += [score(choose(first), image, n) for image in second]
    return np.mean(rows, 0)


def figures(scores):
    return [scores.accuracy, *scores.regions]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("images", "side"), [(13, 12), (8, 9), (2, 16)])
def test_two_class_rows_are_those_of_a_slow_search(seed, images, side):
    truth = blobs(images, side, seed)
    for row, choose in (fixed_mask, slow_fixed_mask), (disc, slow_disc):
        scores = row(truth, 2)
        assert figures(scores) == pytest.approx(two_ways(truth, choose))
        assert scores.iou == scores.regions[1]
        assert scores.mean_iou == pytest.approx(np.mean(scores.regions))


@pytest.mark.parametrize("seed", range(4))
def test_majority_row_is_that_of_a_slow_search(seed):
    truth = blobs(seed=seed)
    truth[:, :5][truth[:, :5] == 1] = 2
    scores = fixed_mask(truth, 3)
    assert figures(scores) == pytest.approx(two_ways(truth, slow_majority, n=3))
    assert scores.iou == pytest.approx(np.mean(scores.regions[1:]))


def test_images_all_alike_are_solved_by_the_fixed_mask():
    truth = np.repeat(blobs(1, 16, unlabelled=0), 5, 0)
    assert figures(fixed_mask(truth, 2)) == [1, 1, 1]


@pytest.mark.parametrize("side", [8, 9, 32])
@pytest.mark.parametrize("radius", [0.25, 0.5, 0.75])
def test_a_centred_disc_is_found(side, radius):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    truth = np.repeat((np.hypot(y, x) <= radius * side)[None].astype(np.uint8), 4, 0)
    assert figures(disc(truth, 2)) == [1, 1, 1]


def test_the_answer_comes_from_the_other_half_and_labels_are_not_matched():
    left, right = np.zeros((2, 3, 8, 8), np.uint8)
    left[:, :, :4] = 1
    right[:, :, 4:] = 1
    assert figures(fixed_mask(np.concatenate([left, right]), 2)) == [0, 0, 0]


def test_halves_are_contiguous():
    images = np.zeros((4, 8, 8), np.uint8)
    images[::2, :4] = 1
    images[1::2, 4:] = 1
    assert fixed_mask(images, 2).iou == pytest.approx(0.5)  # either half: the whole image


def test_an_exact_tie_with_the_threshold_is_not_above_it():
    truth = np.zeros((40, 4, 4), np.uint8)
    truth[:, 0] = 1
    truth[::20, 1] = 1  # one in twenty of either half: mean truth .05
    assert fixed_mask(truth, 2).regions == pytest.approx(two_ways(truth, slow_fixed_mask)[1:])
    assert fixed_mask(truth, 2).iou == pytest.approx((38 + 2 * 0.5) / 40)


def test_the_highest_threshold_is_tried():
    truth = np.ones((40, 16, 16), np.uint8)
    truth[::20] = UNLABELLED
    truth[::20, 0, :2] = (
        1,
        0,
    )  # the second pixel: mean truth .95; wrong here it costs more than it gains elsewhere
    assert fixed_mask(truth, 2).iou == pytest.approx((38 * 255 / 256 + 2) / 40)


def test_a_pixel_never_labelled_by_one_half_is_background_there():
    truth = np.ones((2, 4, 4), np.uint8)
    truth[0, 0] = UNLABELLED
    assert fixed_mask(truth, 2).iou == pytest.approx((1 + 0.75) / 2)
    assert fixed_mask(truth, 3).regions == pytest.approx(((1 + 0) / 2, (1 + 0.75) / 2, 1))


def test_images_without_labels_change_nothing():
    truth = blobs()
    blank = np.full_like(truth[:3], UNLABELLED)
    mixed = np.concatenate([blank[:1], truth[:4], blank[1:], truth[4:]])
    assert fixed_mask(mixed, 2) == fixed_mask(truth, 2)
    assert disc(mixed, 2) == disc(truth, 2)


def test_fewer_than_two_labelled_images_have_no_row():
    blank = np.full((3, 8, 8), UNLABELLED, np.uint8)
    one = np.concatenate([blank, blobs(1, 8)])
    for truth in blank[:0], blank, one:
        assert fixed_mask(truth, 2) is disc(truth, 2) is fixed_mask(truth, 3) is None


def test_disc_is_for_two_regions_only():
    assert disc(blobs(), 3) is None


@pytest.mark.parametrize(
    ("truth", "n", "says"),
    [
        (np.zeros((4, 8, 9), np.uint8), 2, r"\(N, S, S\) uint8"),
        (np.zeros((8, 8), np.uint8), 2, r"\(N, S, S\) uint8"),
        (np.zeros((4, 8, 8), int), 2, r"\(N, S, S\) uint8"),
        (np.full((4, 8, 8), 2, np.uint8), 2, "truth holds label 2"),
        (np.zeros((4, 8, 8), np.uint8), 1, "n must be 2 or more"),
    ],
)
def test_bad_truth_is_refused(truth, n, says):
    with pytest.raises(ValueError, match=says):
        fixed_mask(truth, n)
