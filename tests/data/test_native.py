"""Data sets as their owners distribute them: the contract that every reader keeps."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_made import names
from native_made import MAKERS, Made, S, opened
from redoseg.config import TrainConfig
from redoseg.data.dataset import open_dataset
from redoseg.data.images import decode_label
from redoseg.data.mask_files import BY_VALUES, MaskRule, numbered
from redoseg.data.native import cub, flowers, lfw
from redoseg.data.native.sources import NAMES, find_missing, list_images, list_source
from redoseg.data.photos import cache_keys
from redoseg.errors import DataError
from redoseg.segmentation.plan import plan_jobs
from refusals import refusal
from tinyruns import tiny, trained

READERS = {"flowers": flowers, "lfw": lfw, "cub": cub}
OTHER = MaskRule("other", numbered(decode_label))
PHOTOS = {"flowers": "jpg", "lfw": "lfw_funneled", "cub": "images"}
MASKS = {"flowers": "segmim", "lfw": "parts_lfw_funneled_gt_images", "cub": "segmentations"}
LISTS = {"flowers": "setid.mat", "lfw": "val.txt", "cub": "images.txt"}


@pytest.fixture(params=NAMES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    (tmp_path / "set").mkdir()
    return MAKERS[request.param](tmp_path / "set")


@pytest.fixture
def whole(made: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    """As if the set had been published as it was made."""
    reader = READERS[made.name]
    monkeypatch.setattr(reader, "IMAGES", len(made.photos))
    if made.name == "lfw":
        monkeypatch.setattr(reader, "LABELLED", len(made.masks))
        for split in ("train", "val", "test"):  # without the faces that aren't here
            lines = (made.root / f"{split}.txt").read_text().splitlines()[:-1]
            (made.root / f"{split}.txt").write_text("\n".join(lines))
    if made.name == "flowers":
        monkeypatch.setattr(reader, "SPLITS", {"train": 5, "val": 3, "test": 2})
    if made.name == "cub":
        lines = (made.root / "images.txt").read_text().splitlines()[:-1]
        (made.root / "images.txt").write_text("\n".join(lines))
    return made


# The contract


def test_there_is_a_made_set_for_every_reader() -> None:
    assert set(NAMES) == set(MAKERS)


def test_a_few_of_a_sets_files_are_listed_without_complaint(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    found = list_source(made.source)
    assert names(found) == sorted(made.photos)
    assert {Path(ref.entry.source, ref.entry.path) for ref in found.images} == set(made.photos.values())
    assert found.masks.keys() == made.masks.keys()
    for name, ref in found.masks.items():
        assert Path(ref.entry.source, ref.entry.path) == made.masks[name]
    assert found.splits == made.splits
    assert found.stem == made.name
    assert not caplog.records


def test_masks_are_what_was_painted(made: Made) -> None:
    found = list_images(made.name, made.root)
    for name, ref in found.masks.items():
        with ref.open() as file:
            assert made.agrees(name, found.rule.read(file)[0] > 0), name


def test_a_set_is_opened_with_labels_at_size(made: Made) -> None:
    data = opened(made)
    assert data.name == made.name
    assert not data.skipped
    assert {name: split for split in data.splits for name in data.split(split).names} == made.splits
    seen = 0
    for split in data.splits.values():
        rows = np.arange(len(split))
        assert split.images(rows).shape == (len(rows), S, S, 3)
        for row in split.labelled:
            name, (label,) = split.names[row], split.labels(np.array([row]))
            height, width = made.truth[name].shape
            top, left = (height - S) // 2, (width - S) // 2
            padded = np.array(made.truth[name])
            padded[top : top + S, left : left + S] = label == 1
            assert set(np.unique(label)) == {0, 1}
            assert made.agrees(name, padded), name
            seen += 1
    assert seen == len(made.masks)


def test_photos_are_what_was_saved(made: Made) -> None:
    data = opened(made)
    for split in data.splits.values():
        for name, image in zip(split.names, split.images(np.arange(len(split))), strict=True):
            with Image.open(made.photos[name]) as saved:
                pixels = np.asarray(saved.convert("RGB"))
            top, left = (pixels.shape[0] - S) // 2, (pixels.shape[1] - S) // 2
            assert np.array_equal(image, pixels[top : top + S, left : left + S])


def test_listing_opens_no_image_and_no_mask(made: Made) -> None:
    for path in (*made.photos.values(), *made.masks.values()):
        path.write_bytes(b"")
    assert list_source(made.source).splits == made.splits


def test_nothing_is_missing_of_a_whole_set(whole: Made) -> None:
    assert find_missing(whole.name, whole.root) == []


@pytest.mark.parametrize("piece", ["photos", "masks", "lists", "a photo", "a mask", "an empty mask"])
def test_a_missing_piece_is_one_clear_line(whole: Made, piece: str) -> None:
    name, mask = sorted(whole.masks)[0], whole.masks[sorted(whole.masks)[0]]
    removed = {
        "photos": whole.root / PHOTOS[whole.name],
        "masks": whole.root / MASKS[whole.name],
        "lists": whole.root / LISTS[whole.name],
        "a photo": whole.photos[name],
        "a mask": mask,
        "an empty mask": mask,
    }[piece]
    shutil.rmtree(removed) if removed.is_dir() else removed.unlink()
    if piece == "an empty mask":
        mask.write_bytes(b"")
    said = find_missing(whole.name, whole.root)
    assert said, piece
    assert all("\n" not in line and str(whole.root) in line for line in said)
    place = {"lists": LISTS, "photos": PHOTOS, "a photo": PHOTOS}.get(piece, MASKS)[whole.name]
    assert any(place in line for line in said)
    assert any(word in said[0] for word in ("unpack", "fetch"))
    if piece in ("photos", "masks", "lists", "an empty mask"):
        assert len(said) == 1


def test_a_part_of_a_set_is_known_by_the_published_numbers(made: Made) -> None:
    said = " ".join(find_missing(made.name, made.root))
    assert {"flowers": "8,189", "lfw": "13,233", "cub": "11,788"}[made.name] in said
    assert ("2,927" in said) == (made.name == "lfw")


def test_what_is_no_folder_of_the_set_is_one_line(made: Made, tmp_path: Path) -> None:
    (tmp_path / "set.tgz").write_bytes(b"\x1f\x8b")
    (tmp_path / "empty").mkdir()
    for place, said in (("set.tgz", "unpack it"), ("nowhere", "no folder"), ("empty", "unpack")):
        with refusal(DataError, match=said):
            open_dataset([f"{made.name}:{tmp_path / place}"], size=8, cache=tmp_path / "cache")
        lines = find_missing(made.name, tmp_path / place)
        assert lines
        assert place == "empty" or len(lines) == 1


def test_a_broken_image_is_named_and_left_out(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    name = sorted(made.masks)[0]
    made.photos[name].write_bytes(made.photos[name].read_bytes()[: made.photos[name].stat().st_size // 2])
    data = opened(made)
    (reason,) = data.skipped
    assert made.photos[name].name in reason
    assert made.photos[name].name in caplog.text
    assert name not in [name for split in data.splits.values() for name in split.names]


def test_a_broken_mask_costs_only_the_label(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    name = sorted(made.masks)[0]
    made.masks[name].write_bytes(made.masks[name].read_bytes()[: made.masks[name].stat().st_size // 2])
    data = opened(made)
    (reason,) = data.skipped
    assert made.masks[name].name in reason
    assert made.masks[name].name in caplog.text
    split = data.split(made.splits[name])
    row = list(split.names).index(name)
    assert (split.labels(np.array([row])) == 255).all()
    assert sum(len(split.labelled) for split in data.splits.values()) == len(made.masks) - 1


def test_photos_alone_are_trained_on(made: Made) -> None:
    shutil.rmtree(made.root / MASKS[made.name])
    data = opened(made)
    assert {name: split for split in data.splits for name in data.split(split).names} == made.splits
    assert all(len(split.labelled) == 0 for split in data.splits.values())
    config = tiny(made.root, made.root.parent / "run", steps=2, batch=2)
    run = trained(TrainConfig.of(**vars(config) | {"data": (made.source,)}))
    assert run.last.is_file()
    assert run.config().data == (made.source,)
    assert run.fingerprint() == opened(made, size=config.size).fingerprint


def test_a_copy_has_the_same_fingerprint_with_and_without_masks(made: Made, tmp_path: Path) -> None:
    before = opened(made).fingerprint
    shutil.copytree(made.root, tmp_path / "else" / "where")
    source = f"{made.name}:{tmp_path / 'else' / 'where'}"
    assert open_dataset([source], size=S, cache=tmp_path / "other").fingerprint == before
    shutil.rmtree(tmp_path / "else" / "where" / MASKS[made.name])
    assert open_dataset([source], size=S, cache=tmp_path / "other").fingerprint == before
    (tmp_path / "else" / "where" / made.photos[max(made.photos)].relative_to(made.root)).unlink()
    assert open_dataset([source], size=S, cache=tmp_path / "other").fingerprint != before


def test_the_cache_knows_how_masks_were_read(made: Made) -> None:
    found = list_source(made.source)
    images, masks = cache_keys(found, S, "antialias")
    others = [
        cache_keys(dataclasses.replace(found, rule=rule), S, "antialias") for rule in (BY_VALUES, OTHER)
    ]
    assert {other[0] for other in others} == {images}
    assert len({masks, *(other[1] for other in others)}) == 3


def test_photos_are_segmented_outside_the_sets_folder(made: Made, tmp_path: Path) -> None:
    jobs, failed, _ = plan_jobs([made.source, f"{made.name}:{made.root}/."], tmp_path / "out")
    assert not failed
    assert [job.target for job in jobs] == [tmp_path / "out" / f"{name}.png" for name in sorted(made.photos)]
    with pytest.raises(DataError, match="choose another --out"):
        plan_jobs([made.source], made.root / MASKS[made.name])


def test_a_missing_set_is_an_input_that_failed(tmp_path: Path) -> None:
    jobs, ((name, reason),), _ = plan_jobs(["lfw:nowhere"], tmp_path / "out")
    assert not jobs
    assert name == "lfw:nowhere"
    assert "no folder" in reason
