"""A run's log for TensorBoard, read back by TensorBoard's own reader."""

import io
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from redoseg.errors import ConfigError
from redoseg.exporting.export import export
from redoseg.models.run_log import curves_of, read_log
from refusals import refusal, refused_command
from tinyruns import photos, tiny, trained

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(find_spec("tensorboard") is None, reason="pip install 'redoseg[tensorboard]'"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = photos(tmp_path_factory.mktemp("data") / "photos", train=8, val=2)
    return trained(tiny(data, data.parent / "run", steps=4))


def events_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own modules
def test_the_curves_and_pictures_are_the_runs(run, tmp_path):
    out = tmp_path / "tb" / "run"
    exported = export(run.path, tensorboard=out)
    found, curves = events_of(out), curves_of(read_log(run.metrics))
    tags = {
        f"{chart}/{name}".replace(" ", "_"): line for chart, of in curves.items() for name, line in of.items()
    }
    assert set(found.Tags()["scalars"]) == set(tags)
    assert exported.curves == len(tags)
    for tag, line in tags.items():
        events = found.Scalars(tag)
        assert [event.step for event in events] == [step for step, _ in line]
        np.testing.assert_allclose([event.value for event in events], [value for _, value in line], rtol=1e-6)
    images = found.Images("samples")
    assert [image.step for image in images] == [2, 4]
    shown = np.asarray(Image.open(io.BytesIO(images[0].encoded_image_string)))
    assert np.array_equal(shown, np.asarray(Image.open(run.sample(2))))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_written_again_it_is_replaced_and_nothing_else_is(run, tmp_path, command):
    out = tmp_path / "run"
    code, output, _ = command("export", run.path, "--tensorboard", out)
    assert code == 0
    assert "to be seen by tensorboard --logdir" in output
    export(run.path, tensorboard=out)
    assert len(list(out.iterdir())) == 1
    (out / "notes.txt").write_text("mine")
    with refusal(ConfigError, "holds something else than TensorBoard's files"):
        export(run.path, tensorboard=out)
    assert (out / "notes.txt").read_text() == "mine"
    refused_command(command, "holds no run", "export", "flowers", "--tensorboard", tmp_path / "x")
