"""A segmented folder as other programs want it."""

import csv
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

import redoseg
from redoseg.cli import main
from redoseg.datasets import MaskFolder, Row, write_hf_folder
from redoseg.errors import ConfigError, DataError, RedosegError
from refusals import refusal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four photos and their masks, as `segment --csv` leaves them, with whole paths."""
    out = tmp_path_factory.mktemp("segmented")
    (out / "photos").mkdir()
    y, x = np.mgrid[:48, :64]
    for number in range(4):
        inside = np.hypot(y - 24, x - 32) < 8 + 3 * number
        picture = np.where(inside[..., None], (220, 190, 60), (30, 70, 40)).astype(np.uint8)
        Image.fromarray(picture).save(out / "photos" / f"{number}.png")
    (out / "photos" / "broken.png").write_bytes(b"no photo")
    table = str(out / "table.csv")
    assert main(["segment", "flowers", str(out / "photos"), "-o", str(out / "masks"), "--csv", table]) == 1
    return out


def test_items_are_the_photo_its_labels_and_its_doubt(folder):
    dataset = MaskFolder(folder / "table.csv")
    with open(folder / "table.csv", newline="") as file:
        doubts = {row["photo"]: float(row["doubt"]) for row in csv.DictReader(file) if not row["error"]}
    assert len(dataset) == 4
    assert dataset.left_out == {"failed": 1, "doubtful": 0}  # the broken one has no mask
    for index, row in enumerate(dataset.rows):
        image, mask, doubt = dataset[index]
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(row.photo)))
        assert np.array_equal(np.asarray(mask), np.asarray(Image.open(row.mask)) // 255)
        assert doubt == doubts[str(row.photo)]


def _as_arrays(image, mask):
    return np.array(image), np.array(mask)


def test_a_loader_of_pytorch_takes_it_with_workers(folder):
    dataset: Any = MaskFolder(folder / "table.csv", transforms=_as_arrays)
    (batch,) = DataLoader(dataset, batch_size=4, num_workers=1)
    images, masks, doubts = batch
    assert images.shape == (4, 48, 64, 3)
    assert masks.shape == (4, 48, 64)
    assert doubts.tolist() == [row.doubt for row in dataset.rows]


def test_the_doubtful_are_left_out(folder):
    doubts = sorted(row.doubt for row in MaskFolder(folder / "table.csv").rows)
    assert len(MaskFolder(folder / "table.csv", max_doubt=doubts[1])) == 2
    with refusal(ConfigError, "no mask with a doubt of 0 or less"):
        MaskFolder(folder / "table.csv", max_doubt=0)
    with refusal(ConfigError, "max_doubt is 7: it must be from 0 to 1"):
        MaskFolder(folder / "table.csv", max_doubt=7)


def test_tables_with_paths_that_can_be_moved(folder, tmp_path):
    """As `auto` writes them: of photos from their folder, of masks from the table's."""
    with open(tmp_path / "photos.csv", "w") as file:
        file.write("photo,mask,doubt,error\n0.png,masks/0.png,0.25,\n")
    (tmp_path / "masks").symlink_to(folder / "masks")
    (row,) = MaskFolder(tmp_path, folder / "photos").rows
    assert (row.photo, row.doubt) == (folder / "photos" / "0.png", 0.25)
    with refusal(DataError, r"there is no such file: say with photos=FOLDER where the photos lie$"):
        MaskFolder(tmp_path)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "photo,mask,doubt\na,b,c\n", "\xff\xfe"])
def test_what_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content.encode("latin-1"))
    with refusal(RedosegError, "t.csv"):
        MaskFolder(tmp_path / "t.csv")


def test_a_folder_for_hugging_face(folder, tmp_path):
    dataset = MaskFolder(folder / "table.csv")
    out = write_hf_folder(dataset, tmp_path / "hf")
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert [line["doubt"] for line in lines] == [row.doubt for row in dataset.rows]
    assert [line["photo"] for line in lines] == [row.photo.name for row in dataset.rows]
    of_table = write_hf_folder(folder / "table.csv", tmp_path / "again")
    assert (of_table / "metadata.jsonl").read_bytes() == (out / "metadata.jsonl").read_bytes()
    for line, row in zip(lines, dataset.rows, strict=True):
        assert (out / line["file_name"]).read_bytes() == row.photo.read_bytes()
        assert (out / line["mask_file_name"]).read_bytes() == row.mask.read_bytes()
    (tmp_path / "half").mkdir()
    gone = MaskFolder(folder / "table.csv")
    gone.rows.append(Row(folder / "nowhere.png", folder / "nowhere.png", 0.1))
    with refusal(DataError, "nowhere.png can't be read"):
        write_hf_folder(gone, tmp_path / "half")
    assert not list((tmp_path / "half").iterdir())
    with refusal(ConfigError, "is there already: choose a new folder"):
        write_hf_folder(dataset, out)


def test_it_is_reached_from_the_package():
    assert redoseg.datasets.MaskFolder is MaskFolder
