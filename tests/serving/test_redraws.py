"""Regions redrawn by the server: the same pixels as `redoseg redraw`, and nothing but the region changes."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from redoseg.models.source import find_model
from redoseg.redrawing.redraw import redraw_grid, sample_codes
from redoseg.serving.limits import Limits
from redoseg.serving.redraws import between
from redoseg.tensors import to_tensor
from served import serving


@pytest.fixture(scope="module")
def photo():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[20:44, 10:30] = 255
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving("digits", corrections=tmp_path_factory.mktemp("c"), limits=Limits(rate=0)) as it:
        yield it


def pixels(text):
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.array(image)


def test_it_is_what_the_command_draws(served, photo):
    found = served.post("/api/redraw?region=1&seeds=3,4", photo).json()
    with Image.open(io.BytesIO(photo)) as image:
        images = to_tensor(np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS))[None].copy())
    model = find_model("digits").load()
    codes = torch.cat([sample_codes(3, 1, model.config.code_size, seed=seed) for seed in (3, 4)], 1)
    wanted = redraw_grid(model.f, model.generators, images, codes, regions=[1]).redrawn[1][0]
    assert found["size"] == 64
    np.testing.assert_array_equal(np.stack([pixels(one) for one in found["redrawn"]]), wanted)


def test_nothing_but_the_region_changes(served, photo):
    found = served.post("/api/redraw?region=1&seeds=1,2,3,4", photo).json()
    outside = pixels(found["mask"]) == 0
    assert 0.2 < outside.mean() < 1
    before, after = pixels(found["photo"]), [pixels(one) for one in found["redrawn"]]
    for one in after:
        np.testing.assert_allclose(one[outside].astype(int), before[outside], atol=1)
    assert any(np.abs(one.astype(int) - after[0]).max() > 5 for one in after[1:])


def test_a_walk_leads_from_one_code_to_the_other(served, photo):
    ends = served.post("/api/redraw?region=1&seeds=5,6", photo).json()["redrawn"]
    walk = served.post("/api/redraw?region=1&seeds=5,6&walk=6", photo).json()["redrawn"]
    assert len(walk) == 6
    for end, step in zip(ends, (walk[0], walk[-1]), strict=True):
        np.testing.assert_allclose(pixels(step).astype(int), pixels(end), atol=1)


def test_codes_on_a_walk_are_as_long_as_those_that_generators_know():
    codes = sample_codes(2, 2, 32, seed=0)
    lengths = between(codes, 5).norm(dim=2)
    straight = torch.stack([(1 - at) * codes[:, 0] + at * codes[:, 1] for at in (0.0, 0.5, 1.0)], 1)
    assert lengths[:, 2].min() > straight.norm(dim=2)[:, 1].max()
    torch.testing.assert_close(between(codes, 2), codes)
    same = codes[:, :1].repeat(1, 2, 1)
    torch.testing.assert_close(between(same, 3), codes[:, :1].repeat(1, 3, 1))


@pytest.mark.parametrize(
    "query",
    ["region=3", "region=-1", "seeds=a", "seeds=", "seeds=-1", f"seeds={','.join('1' * 17)}", "walk=4",
     "seeds=1,2&walk=1", "seeds=1,2&walk=99", "count=3"],
)  # fmt: skip
def test_what_cant_be_redrawn_is_refused(served, photo, query):
    answer = served.post(f"/api/redraw?{query}", photo)
    assert answer.status == 400
    assert answer.error


def test_three_regions_are_corrected_together(served, photo):
    album = f"/api/albums/{served.post('/api/albums').json()['album']}"
    served.put(f"{album}/photos/a.png", photo)
    assert served.get(f"{album}/photos/a.png?type=mask&region=2").status == 200
    assert served.put(f"{album}/corrections/a.png?region=2", photo).status == 400


def test_a_model_without_generators_says_so(tmp_path, photo):
    with serving("flowers", corrections=tmp_path) as it:
        assert it.get("/api/model").json()["redraws"] is False
        answer = it.post("/api/redraw", photo)
    assert (answer.status, "no generators" in answer.error) == (404, True)
