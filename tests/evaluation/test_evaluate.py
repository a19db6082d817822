"""Scores of a model on a split, against scikit-learn, image by image."""

import csv
import io
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.metrics import accuracy_score, jaccard_score

from redoseg.data.dataset import open_dataset
from redoseg.errors import DataError
from redoseg.evaluation.evaluate import Evaluation, count_pixels, evaluate, predict, score, scoring_split
from redoseg.evaluation.metrics import Scores
from redoseg.evaluation.tables import scores_table
from redoseg.models.load import load_model
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter

pytestmark = pytest.mark.training

S, IMAGES = 32, 7
ROWS = ("per_dataset", "per_image", "fixed_mask", "disc")


def labels(n, seed=0):
    """(7, S, S): blobs of labels 0 to n - 1, and 255 in places; the last image is unlabelled all over."""
    random = np.random.default_rng(seed)
    blobs = random.integers(0, n, (IMAGES, S // 8, S // 8)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    blobs[random.random(blobs.shape) < 0.1] = 255
    blobs[0][blobs[0] == 1] = 0  # a region that is in no pixel of an image
    blobs[-1] = 255
    return blobs


def write(folder, n):
    """Noise with those labels as `val`, some more of it as `train` and `bare`, without masks."""
    random, rows = np.random.default_rng(1), [("name", "split")]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    truth = labels(n)
    for index in range(IMAGES + 4):
        coarse = random.integers(0, 256, (8, 8, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        Image.fromarray(coarse).save(folder / "images" / f"{index}.png")
        if index < IMAGES:
            Image.fromarray(truth[index]).save(folder / "masks" / f"{index}.png")
        rows.append((str(index), "val" if index < IMAGES else "train" if index % 2 else "bare"))
    with open(folder / "splits.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def network(n, seed=0):
    """One whose masks differ from pixel to pixel and from image to image."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        f = MaskNetwork(n=n, width=4, blocks=1, size=S).eval()
        f.centre()
        f.order.copy_(torch.arange(n).roll(1))
    with torch.no_grad():
        f.head.weight.mul_(30)
        f.head.bias.copy_(torch.arange(1.0, 1 + len(f.head.bias)))  # no ties where all inputs are zero
    return f


class Case:
    """A model and a data set with n regions."""

    def __init__(self, folder, n):
        self.n, self.cache = n, folder / "cache"
        self.data, self.model, self.f = write(folder / "data", n), folder / "model", network(n)
        self.f.save_pretrained(self.model)

    def evaluate(self, **options):
        return evaluate(self.model, self.data, **{"cache": self.cache, "device": "cpu"} | options)

    def dataset(self):
        return open_dataset([str(self.data)], size=S, n=self.n, cache=self.cache)

    def predicted(self):
        """Regions (7, S, S) and soft masks' mean sizes, from the files."""
        pictures = [np.asarray(Image.open(self.data / "images" / f"{i}.png")) for i in range(IMAGES)]
        images = torch.from_numpy(np.stack(pictures).astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        with torch.no_grad():
            masks = self.f(images)[:, self.f.order].numpy()
        regions = (masks[:, 1] > 0.5).astype(int) if self.n == 2 else masks.argmax(1)
        return regions, masks.mean((0, 2, 3))


@pytest.fixture(scope="module", params=[2, 3], ids=["n2", "n3"])
def case(request, tmp_path_factory):
    return Case(tmp_path_factory.mktemp(f"case{request.param}"), request.param)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("two"), 2)


def image_scores(truth, regions, n, matching):
    """Accuracy and each label's IoU of one image; matching[r] is the label of region r."""
    known = truth != 255
    truth, named = truth[known], np.array(matching)[regions[known]]
    iou = jaccard_score(truth, named, labels=range(n), average=None, zero_division=1.0)
    return accuracy_score(truth, named), iou


def expected(case, how):
    """The row by trying every matching: of the split, or of each image and metric."""
    regions, _ = case.predicted()
    pairs = list(zip(labels(case.n), regions, strict=True))[:-1]  # the last one is unlabelled
    table = {
        matching: [image_scores(truth, found, case.n, matching) for truth, found in pairs]
        for matching in itertools.permutations(range(case.n))
    }
    if how == "per_dataset":
        known = [(truth[truth != 255], found[truth != 255]) for truth, found in pairs]
        correct = {m: sum((np.array(m)[found] == truth).sum() for truth, found in known) for m in table}
        rows = table[max(correct, key=lambda m: correct[m])]
        accuracy, iou = np.mean([row[0] for row in rows]), np.mean([row[1] for row in rows], 0)
        return {
            "accuracy": accuracy, "iou": iou[1:].mean(), "mean_iou": iou.mean(), "regions": list(iou),
        }  # fmt: skip
    by_image = list(zip(*table.values(), strict=True))  # for each image its scores under each matching
    best = [max(image, key=lambda row: row[1].mean())[1] for image in by_image]
    return {
        "accuracy": np.mean([max(row[0] for row in image) for image in by_image]),
        "iou": np.mean([max(row[1][1:].mean() for row in image) for image in by_image]),
        "mean_iou": np.mean([iou.mean() for iou in best]),
        "regions": list(np.mean(best, 0)),
    }


# The numbers


@pytest.mark.parametrize("how", ["per_dataset", "per_image"])
def test_scores_are_scikit_learns(case, how):
    found, wanted = case.evaluate().as_dict()[how], expected(case, how)
    assert found.keys() == wanted.keys()
    for name in ("accuracy", "iou", "mean_iou", "regions"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-9), name
    assert 0.05 < found["iou"] < 0.95
    assert 0.05 < found["accuracy"] < 0.95


def test_the_models_order_has_no_say_in_the_scores(case, tmp_path):
    """Regions are matched to labels; it has one in the regions' sizes."""
    other = Case(tmp_path, case.n)
    other.f.order.copy_(other.f.order.flip(0))
    other.f.save_pretrained(other.model)
    assert other.evaluate().per_image == case.evaluate().per_image
    assert other.evaluate().per_dataset == case.evaluate().per_dataset
    assert other.evaluate().region_sizes == pytest.approx(case.evaluate().region_sizes[::-1])


def test_images_and_sizes(case):
    found = case.evaluate()
    assert found.images == IMAGES - 1
    assert found.region_sizes == pytest.approx(case.predicted()[1], abs=1e-6)
    assert sum(found.region_sizes) == pytest.approx(1)


def test_predictions_dont_depend_on_the_batch(case):
    split, everything = case.dataset().split("val"), np.arange(IMAGES)
    whole, sizes = predict(case.f, split, everything)
    parts, again = predict(case.f, split, everything, batch=2)
    np.testing.assert_array_equal(whole, parts)
    np.testing.assert_array_equal(whole, case.predicted()[0])
    assert whole.dtype == np.uint8
    assert sizes == pytest.approx(again, abs=1e-6)


def test_counts_are_of_pixels(case):
    counts = count_pixels(case.f, case.dataset().split("val"), most=IMAGES)
    truth, (regions, _) = labels(case.n), case.predicted()
    assert counts.shape == (IMAGES, case.n, case.n)
    for r, label in itertools.product(range(case.n), repeat=2):
        np.testing.assert_array_equal(counts[:, r, label], ((regions == r) & (truth == label)).sum((1, 2)))
    some = count_pixels(case.f, case.dataset().split("val"), most=3)
    np.testing.assert_array_equal(some, counts[[0, 3, 6]])


def test_the_truth_as_a_model_has_all(tmp_path, two):
    """Every pixel right, whichever region is called the object."""

    class Oracle(MaskNetwork):
        def forward(self, images, noise=None):
            bright = (images.mean(1, keepdim=True) > 0).float()
            return torch.cat((bright, 1 - bright), 1)

    folder = write(tmp_path / "data", 2)
    for index in range(IMAGES):
        picture = np.asarray(Image.open(folder / "images" / f"{index}.png")).astype(float).mean(2)
        Image.fromarray((picture > 127.5).astype(np.uint8)).save(folder / "masks" / f"{index}.png")
    dataset = open_dataset([str(folder)], size=S, n=2, cache=tmp_path / "cache")
    model = load_model(two.model)
    perfect = Scores(1.0, 1.0, 1.0, (1.0, 1.0))
    f = Oracle(width=4, blocks=0, size=S)
    for order in ([0, 1], [1, 0]):
        f.order.copy_(torch.tensor(order))
        found = score(type(model)(f, None, None, "last", 1, False), dataset.split("val"))
        assert (found.per_dataset, found.per_image) == (perfect, perfect)
        assert found.fixed_mask.iou < 1


def test_as_written_is_what_the_masks_that_segment_writes_score(tmp_path):
    """On photos of 128 pixels, which nothing resizes on the way; regions are not matched to labels."""
    f, folder = network(2), tmp_path / "data"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(3):
        coarse = random.integers(0, 256, (16, 16, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        Image.fromarray(coarse).save(folder / "images" / f"{index}.png")
        truth = (random.random((16, 16)) < 0.5).repeat(8, 0).repeat(8, 1)
        Image.fromarray(truth.astype(np.uint8) * 255).save(folder / "masks" / f"{index}.png")
    (folder / "splits.csv").write_text("name,split\n0,val\n1,val\n2,val\n")
    f.save_pretrained(tmp_path / "model")
    found = evaluate(tmp_path / "model", folder, cache=tmp_path / "cache", device="cpu").as_written
    segmenter = Segmenter.from_pretrained(tmp_path / "model", device="cpu", backend="torch")
    segment_files(segmenter, [folder / "images"], tmp_path / "out")
    ious, accuracies = [], []
    for index in range(3):
        mask, truth = (
            np.asarray(Image.open(path / f"{index}.png")) > 0 for path in (tmp_path / "out", folder / "masks")
        )
        ious.append((mask & truth).sum() / (mask | truth).sum())
        accuracies.append((mask == truth).mean())
    assert found.iou == pytest.approx(np.mean(ious))
    assert found.accuracy == pytest.approx(np.mean(accuracies))


def test_whole_photos_are_scored_at_their_own_size(tmp_path):
    """Photos of which a centred square holds a part, and a mask of half its photo's size."""
    f, folder = network(2), tmp_path / "data"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for index, (rows, columns) in enumerate([(16, 24), (20, 12)]):
        coarse = random.integers(0, 256, (rows, columns, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        Image.fromarray(coarse).save(folder / "images" / f"{index}.png")
        truth = random.random((rows, columns)) < 0.5
        scale = 8 if index else 4
        Image.fromarray(truth.repeat(scale, 0).repeat(scale, 1).astype(np.uint8) * 255).save(
            folder / "masks" / f"{index}.png"
        )
    f.save_pretrained(tmp_path / "model")
    found = evaluate(
        tmp_path / "model", folder, split="train", cache=tmp_path / "cache", device="cpu", whole=True
    )
    segmenter = Segmenter.from_pretrained(tmp_path / "model", device="cpu", backend="torch")
    segment_files(segmenter, [folder / "images"], tmp_path / "out")
    ious, accuracies = [], []
    for index in range(2):
        mask = np.asarray(Image.open(tmp_path / "out" / f"{index}.png")) > 0
        truth = np.asarray(Image.open(folder / "masks" / f"{index}.png")) > 0
        truth = truth if index else truth.repeat(2, 0).repeat(2, 1)
        ious.append((mask & truth).sum() / (mask | truth).sum())
        accuracies.append((mask == truth).mean())
    assert found.whole.iou == pytest.approx(np.mean(ious))
    assert found.whole.accuracy == pytest.approx(np.mean(accuracies))
    assert found.whole.iou != found.as_written.iou


# What it looks like


def test_json_has_these_keys(case):
    found = json.loads(json.dumps(case.evaluate().as_dict()))
    assert list(found) == ["images", "as_written", "whole", *ROWS, "region_sizes", "checkpoint"]
    for row in ROWS:
        if row == "disc" and case.n == 3:
            assert found[row] is None
            continue
        assert list(found[row]) == ["accuracy", "iou", "mean_iou", "regions"]
        assert len(found[row]["regions"]) == case.n
        assert all(0 <= value <= 1 for value in [*found[row]["regions"], found[row]["accuracy"]])
    assert found["checkpoint"] == {"rule": "as shipped", "step": None, "ema": None}
    assert len(found["region_sizes"]) == case.n


def test_the_rows_agree_with_themselves(case):
    for name in ROWS:
        row = getattr(case.evaluate(), name)
        if row is not None:
            assert row.iou == pytest.approx(np.mean(row.regions[1:])) or name == "per_image"
            assert row.mean_iou == pytest.approx(np.mean(row.regions))


def test_it_comes_back_from_json(case):
    found = case.evaluate()
    again = Evaluation.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again == found
    assert isinstance(again.per_dataset, Scores)
    assert again.as_dict() == found.as_dict()


def test_the_table_has_every_row_there_is(case):
    found = case.evaluate()
    text = io.StringIO()
    Console(file=text, width=200).print(scores_table(found))
    assert f"{IMAGES - 1} images scored; checkpoint: as shipped" in text.getvalue()
    for name in ROWS:
        row = getattr(found, name)
        if row is not None:
            assert f"{row.iou:.3f}" in text.getvalue()
    assert ("disc" in text.getvalue()) == (case.n == 2)
    for how in ("per_dataset", "per_image"):
        assert how in text.getvalue()


# What is scored, and what can't be


def test_data_may_be_a_path_a_string_or_several(two, tmp_path):
    one = two.evaluate()
    assert evaluate(two.model, str(two.data), cache=two.cache) == one
    assert evaluate(str(two.model), [two.data], cache=two.cache) == one
    twice = evaluate(two.model, [two.data, shutil.copytree(two.data, tmp_path / "more")], cache=two.cache)
    assert twice.images == 2 * one.images
    assert twice.per_dataset.iou == pytest.approx(one.per_dataset.iou)


def test_progress_is_heard(two, tmp_path):
    heard = []
    two.evaluate(cache=tmp_path / "new", progress=lambda done, files: heard.append((done, files)))
    assert heard[-1] == (2 * IMAGES + 4, 2 * IMAGES + 4)


@pytest.mark.parametrize("split", ["Val", ""])
def test_a_split_that_isnt_there(two, split):
    with pytest.raises(DataError, match=rf"^data has no split `{split}`: there is train, val, bare; ask"):
        two.evaluate(split=split)


def test_a_split_without_masks(two):
    with pytest.raises(DataError, match=r"^no image of this split has a mask: put masks/ beside images/"):
        two.evaluate(split="bare")


def test_masks_that_label_nothing(two, tmp_path):
    folder = shutil.copytree(two.data, tmp_path / "data")
    for index in range(IMAGES - 1):
        Image.fromarray(np.full((S, S), 255, np.uint8)).save(folder / "masks" / f"{index}.png")
    Image.fromarray(np.full((S, S), 3, np.uint8)).save(folder / "masks" / "7.png")  # of `train`
    with pytest.raises(DataError, match=r"hold no labelled pixel: there is nothing to score$"):
        evaluate(two.model, folder, cache=tmp_path)


def test_more_labels_than_regions(two, tmp_path):
    folder = write(tmp_path / "data", 5)
    assert evaluate(two.model, folder, cache=tmp_path).images == IMAGES - 1  # n = 2: all but 0 is the object
    case = Case(tmp_path / "three", 3)
    with pytest.raises(DataError, match=r"masks hold labels 3, 4, but 3 regions are 0 to 2: give --n 5"):
        evaluate(case.model, folder, cache=tmp_path)


def test_drawn_scenes_are_scored(two):
    found = evaluate(two.model, "digit", split="test")
    assert found.images == 1000
    assert found.disc.iou > 0.1


@pytest.mark.parametrize(
    ("masks", "chosen"),
    [({"val": 2, "train": 2}, "val"), ({"train": 2}, "train"), ({"val": 2}, "val"), ({}, None)],
)
def test_where_a_run_is_scored(tmp_path, masks, chosen):
    """Never on `test`."""
    rows, index = ["name,split"], 0
    for split in ("train", "val", "test"):
        for k in range(3):
            for kind, wanted in (("images", True), ("masks", split == "test" or k < masks.get(split, 0))):
                (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
                if wanted:
                    content = np.full((S, S, 3)[: 3 if kind == "images" else 2], index, np.uint8)
                    Image.fromarray(content).save(tmp_path / "data" / kind / f"{index}.png")
            rows.append(f"{index},{split}")
            index += 1
    (tmp_path / "data" / "splits.csv").write_text("\n".join(rows))
    dataset = open_dataset([str(tmp_path / "data")], size=S, cache=tmp_path)
    found = scoring_split(dataset)
    assert found == (None if chosen is None else (chosen, dataset.split(chosen)))
