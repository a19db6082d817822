"""The one loop, with a learner of its own: what any third learner gets from it."""

import copy
import io

import pytest
import torch
from rich.console import Console

from redoseg.data.sampler import derive_seed
from redoseg.errors import DivergenceError
from redoseg.files import read_json
from redoseg.method.algorithm import divergence
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.networks.build import build_mask_network
from redoseg.training.distributed import SingleProcess
from redoseg.training.learner import Learner
from redoseg.training.log import MeanMetrics, ProgressBar
from redoseg.training.train import open_for_run
from redoseg.training.trainer import Trainer
from run_compared import differences, log, opened
from tinyruns import photos, tiny

pytestmark = pytest.mark.training


class Shrinking(Learner):
    """f is moved towards masks of one size by itself: no image matters. Reports numbers that are known."""

    channels_named = True

    def __init__(self, config):
        self.config = config
        self.restart(0)

    def restart(self, attempt):
        torch.manual_seed(derive_seed(self.config.seed, attempt))
        f = build_mask_network(self.config)
        self.networks = {"f": f, "f_ema": copy.deepcopy(f).eval()}
        self.optimizers = {"f": torch.optim.Adam(f.parameters(), 1e-3)}

    def step(self, t):
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(t))
        loss = (self.networks["f"](images)[:, 1].mean() - 0.2).square()
        self.optimizers["f"].zero_grad()
        loss.backward()
        self.optimizers["f"].step()
        return {"size": loss.detach(), "t": torch.tensor(float(t))}

    def check_finite(self, t):
        if not all(p.isfinite().all() for p in self.networks["f"].parameters()):
            raise divergence(f"a weight was not finite before step {t}", self.cure)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("data") / "photos")


def trainer(data, out, **options):
    config = tiny(data, out, collapse_every=3, **options).resolved()
    console = Console(file=io.StringIO())
    return Trainer(config, open_for_run(config, console), Shrinking(config), console, SingleProcess())


def test_a_third_learner_gets_a_whole_run(data, tmp_path):
    trainer(data, tmp_path / "run", steps=6).run()
    run = RunFolder(tmp_path / "run")
    assert load_model(run.path).step == 6
    assert load_model(run.path, checkpoint="label-free").score is not None
    assert read_json(run.evaluation)["images"] == 5
    assert run.kept_steps() == [2, 4, 6]
    assert (run.samples / "step-0000006.png").is_file()
    assert (run.model / "mask.onnx").is_file()


def test_the_log_has_means_since_its_last_line(data, tmp_path):
    """Lines at steps 2, 3, 4 and 6: of t, which counts from 0."""
    trainer(data, tmp_path / "run", steps=6).run()
    assert {line["step"]: line["losses"]["t"] for line in log(RunFolder(tmp_path / "run"))} == {
        2: 0.5, 3: 2.0, 4: 3.0, 6: 4.5
    }  # fmt: skip


def test_broken_off_between_two_lines_it_ends_as_if_it_was_not(data, tmp_path):
    """What was reported since the last line is in the checkpoint, too."""
    trainer(data, tmp_path / "whole", steps=6, save_every=1).run()
    broken = trainer(data, tmp_path / "broken", steps=6, save_every=1)
    real = broken.learner.step
    broken.learner.step = lambda t: 1 / 0 if t == 5 else real(t)
    with pytest.raises(ZeroDivisionError):
        broken.run()
    trainer(data, tmp_path / "broken", steps=6, save_every=1).run()
    assert differences(RunFolder(tmp_path / "broken"), RunFolder(tmp_path / "whole")) == []


def test_a_learner_that_cannot_restart_is_warned_once_and_goes_on(data, tmp_path):
    found = trainer(data, tmp_path / "run", steps=6, collapse_below=0.49)
    found.run()
    said = found.console.file.getvalue()
    assert said.count("warning: step 3: a region covers 0.") == 1
    assert said.count("the model has collapsed; go on with more --steps, or anew") == 1
    assert found.restarts == []
    assert all("restarts" not in line for line in log(RunFolder(tmp_path / "run")))


def test_weights_that_are_not_finite_are_not_saved(data, tmp_path):
    found = trainer(data, tmp_path / "run", steps=4)
    real = found.learner.step

    def step(t):
        if t == 2:
            found.learner.networks["f"].head.bias.data.fill_(torch.nan)
        return real(t)

    found.learner.step = step
    with pytest.raises(DivergenceError, match=r"^a weight was not finite before step 3; the last checkpoint"):
        found.run()
    assert load_tensors(RunFolder(tmp_path / "run").last)[1]["step"] == 2


@pytest.mark.parametrize("half_life", [0.0, 40.0])
def test_f_is_the_average_where_one_is_kept(data, tmp_path, half_life):
    learner = opened(tiny(data, tmp_path / "run", ema_half_life=half_life)).learner
    assert learner.f is learner.networks["f_ema" if half_life else "f"]
    assert learner.monitored is learner.networks["f"]


def test_means_of_no_step_are_none():
    metrics = MeanMetrics()
    assert metrics.means() == {}
    metrics.load_state(metrics.state)
    assert metrics.means() == {}


def test_means_go_on_where_they_were():
    metrics, other = MeanMetrics(), MeanMetrics()
    metrics.add({"a": torch.tensor(0.1), "b": torch.tensor(1.0)})
    other.load_state(metrics.state)
    for each in (metrics, other):
        each.add({"a": torch.tensor(0.3), "b": torch.tensor(2.0)})
    assert other.means() == metrics.means() == pytest.approx({"a": 0.2, "b": 1.5})


@pytest.mark.parametrize(
    ("sizes", "said"),
    [([0.75, 0.25], "object 0.25 of the image"), ([0.7, 0.2, 0.1], "objects 0.20/0.10 of the image")],
)
def test_a_line_of_the_log_says_which_size_is_the_objects(sizes: list[float], said: str) -> None:
    shown = io.StringIO()
    bar = ProgressBar(Console(file=shown, width=300), 10, 0, 4, None)
    bar.noted = -1e9  # no line is held back
    bar.update(5, {"losses": {"L_G": 1.0}, "region_sizes": sizes}, "")
    assert shown.getvalue().endswith(f"left  L_G 1.00  {said}\n")
