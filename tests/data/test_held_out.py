"""Images that were trained on with their masks are not scored."""

from pathlib import Path

import numpy as np
import pytest

from data_made import mask, picture, write_folder
from redoseg.data.dataset import Split, open_dataset
from redoseg.data.held_out import hold_out, image_digest, index_chunks

ALL = np.arange(4)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    content = {f"{i}.png": picture(i) for i in range(4)} | {f"masks/{i}.png": mask(0, 255) for i in range(3)}
    return open_dataset([write_folder(tmp_path / "set", content)], size=8, cache=tmp_path / "c").split(
        "train"
    )


def test_what_was_trained_on_counts_as_unlabelled(split: Split) -> None:
    trained_on = [image_digest(image) for image in split.images(np.array([1, 3]))]
    scored = hold_out(("val", split), {"images": trained_on})
    assert scored is not None
    name, held_out = scored
    assert (name, held_out.names, len(held_out)) == ("val", split.names, 4)
    assert held_out.labelled.tolist() == [0, 2]
    assert np.array_equal(held_out.images(ALL), split.images(ALL))
    assert np.array_equal(held_out.labels(ALL), split.labels(ALL))


def test_without_supervision_a_split_stays_as_it_is(split: Split) -> None:
    scored = ("val", split)
    assert hold_out(scored, None) is scored
    assert hold_out(None, {"images": []}) is None


def test_nothing_is_left_to_score(split: Split) -> None:
    assert hold_out(("val", split), {"images": [image_digest(image) for image in split.images(ALL)]}) is None


def test_chunks_are_all_rows_in_order() -> None:
    chunks = list(index_chunks(np.arange(600)))
    assert [len(chunk) for chunk in chunks] == [256, 256, 88]
    assert np.array_equal(np.concatenate(chunks), np.arange(600))
    assert [chunk.tolist() for chunk in index_chunks(np.arange(0))] == [[]]
