"""Several seeds tried: a score without labels chooses, and the run is that of the seed trained alone."""

import io
import json
import shutil
import signal
from contextlib import nullcontext

import pytest
from rich.console import Console

import redoseg
from redoseg.cli import main
from redoseg.data.sampler import evenly_spaced
from redoseg.errors import CollapseError, ConfigError, DataError, DivergenceError, ModelError
from redoseg.files import read_json
from redoseg.label_free.signals import measure
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.tensors import to_tensor
from redoseg.training import selection, tries
from redoseg.training import train as training
from redoseg.training.redo import ReDOLearner
from redoseg.training.trainer import Trainer
from redoseg.training.tries import Tries
from refusals import refusal
from run_compared import Killed, differences, dying, log
from tinyruns import TINY, photos, tiny, trained

pytestmark = pytest.mark.training

SCORES = {3: 0.2, 4: 0.6, 5: 0.4}
FEW = {"seed": 3, "f_blocks": 0}


@pytest.fixture(autouse=True)
def scores(monkeypatch):
    return scored(monkeypatch)


def scored(monkeypatch):
    """Label-free scores of each seed after two steps; those of other steps would choose another one."""
    scores, real = dict(SCORES), Trainer._write

    def write(self, *arguments):
        score = scores[self.config.seed]
        score = score if self.step == 2 else 1 - score
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(selection, "label_free_score", lambda *_: score)
            return real(self, *arguments)

    monkeypatch.setattr(Trainer, "_write", write)
    return scores


def config(data, out, **options):
    """Four steps, of which tries take two."""
    return tiny(data, out, **FEW | options)


def train_tries(config, tries=2, try_steps=2):
    """`redoseg.train_tries`: the run's folder, and what was said."""
    said = io.StringIO()
    console = Console(file=said, width=1000)
    out = redoseg.train_tries(config, tries=tries, try_steps=try_steps, console=console)
    return RunFolder(out), said.getvalue()


@pytest.fixture(scope="module")
def ready(data, tmp_path_factory):
    """Two tries that are done, none of them chosen yet."""
    out = tmp_path_factory.mktemp("ready") / "run"
    with pytest.MonkeyPatch.context() as patch:
        scored(patch)
        dying(patch, 4, out)
        with pytest.raises(Killed):
            train_tries(config(data, out))
    return RunFolder(out)


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """An unbroken run of the seed that is to be chosen."""
    with pytest.MonkeyPatch.context() as patch:
        scored(patch)
        return trained(config(data, tmp_path_factory.mktemp("alone") / "run", seed=4))


@pytest.fixture(scope="module")
def chosen(ready, data, tmp_path_factory):
    """A run that has become of them."""
    out = shutil.copytree(ready.path, tmp_path_factory.mktemp("chosen") / "run")
    with pytest.MonkeyPatch.context() as patch:
        scored(patch)
        return train_tries(config(data, out))[0]


def unlike(run, other):
    """What differs but the tries."""
    return [line for line in differences(run, other) if not line.startswith("tries")]


def fail(monkeypatch, errors):
    """Training of these seeds fails after a step; a list of those that were trained."""
    real, begun = ReDOLearner.step, []

    def one_step(self, t):
        if not t:
            begun.append(self.config.seed)
        elif self.config.seed in errors:
            raise errors[self.config.seed](f"seed {self.config.seed} is lost")
        return real(self, t)

    monkeypatch.setattr(ReDOLearner, "step", one_step)
    return begun


def stop(monkeypatch, seed, step):
    """Ctrl-C within that step of that seed."""
    real = ReDOLearner.step

    def one_step(self, t):
        if (self.config.seed, t) == (seed, step - 1):
            signal.raise_signal(signal.SIGINT)
        return real(self, t)

    monkeypatch.setattr(ReDOLearner, "step", one_step)


# The choice


def test_the_best_goes_on_as_if_it_had_been_alone(data, tmp_path, alone):
    run, said = train_tries(config(data, tmp_path / "run"), tries=3)
    assert unlike(run, alone) == []
    record = read_json(run.tries)
    assert (record["seeds"], record["scores"]) == ([3, 4, 5], [0.2, 0.6, 0.4])
    assert (record["steps"], record["chosen"]) == (2, 4)
    assert "try 2 of 3: seed 4, 2 steps" in said
    assert "label-free scores: seed 3 0.200, seed 4 0.600, seed 5 0.400. Going on with seed 4" in said
    assert f"going on with {run.path} at step 2" in said
    assert "warning" not in said


def test_what_stays_of_the_tries(data, chosen):
    """All that tells why: the log, and the masks that were looked at. No state to resume from."""
    opened = training.open_for_run(config(data, chosen.path).resolved(), Console(quiet=True)).split("train")
    images = to_tensor(opened.images(evenly_spaced(len(opened), 256)))
    for seed in (3, 4):
        tried = RunFolder(chosen.path / "tries" / f"seed-{seed}")
        assert [file.name for file in tried.checkpoints.iterdir()] == ["step-0000002.safetensors"]
        assert (tried.config().seed, tried.config().steps) == (seed, 2)
        assert (tried.model / "model.safetensors").is_file()
        line = log(tried)[-1]
        assert (line["step"], line["label_free"]) == (2, SCORES[seed])
        seen = measure(load_model(tried.path, checkpoint="2").f, images).as_dict()
        assert seen | {"recovered": line["signals"]["recovered"]} == line["signals"]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((0.1, 0.3, 0.2), 1),
        ((0.1, 0.3, 0.3), 1),
        ((0.0, 0.0), 0),
        ((None, 0.0, 0.0), 1),
        ((0.0, None), 0),
        ((None, 0.2, None), 1),
    ],
)
def test_the_first_of_the_best_is_chosen_and_never_one_that_failed(scores, best):
    config = redoseg.TrainConfig.of(data="digit", out="run")
    assert Tries(config, tuple(range(len(scores))), 2, scores=scores).best == best


def test_where_every_score_is_zero_the_first_goes_on_with_a_warning(data, tmp_path, scores):
    scores |= {3: 0.0, 4: 0.0}
    run, said = train_tries(config(data, tmp_path / "run", steps=2))
    assert run.config().seed == 3
    assert said.count("warning: no try has masks that look like an object: look at the tries' samples/") == 1


def test_the_choice_is_the_same_without_masks(tmp_path, monkeypatch):
    monkeypatch.undo()
    # what these networks see in the images, of which the true score makes 0
    monkeypatch.setattr(selection, "label_free_score", lambda signals, *_: signals.confidence)
    found = []
    for masks in (True, False):
        data = photos(tmp_path / str(masks) / "photos", val=2, masks=masks)
        run, _ = train_tries(config(data, tmp_path / str(masks) / "run", steps=2))
        found.append({name: read_json(run.tries)[name] for name in ("scores", "chosen")})
        assert run.evaluation.exists() == masks
    assert found[0] == found[1]
    assert found[0]["scores"][0] != found[0]["scores"][1]


def test_minutes_are_for_the_run_that_goes_on(data, tmp_path):
    """Each try has all its steps; the time of the chosen one counts."""
    run, _ = train_tries(config(data, tmp_path / "run", minutes=1e-9))
    assert [log(RunFolder(run.try_folder(seed)))[-1]["step"] for seed in (3, 4)] == [2, 2]
    assert load_tensors(run.last)[1]["step"] == 2
    assert run.config().minutes == 1e-9


def test_one_try_is_plain_training(data, tmp_path, alone):
    run, _ = train_tries(config(data, tmp_path / "run", seed=4), tries=1, try_steps=None)
    assert differences(run, alone) == []


# Tries that fail


def test_a_try_that_fails_counts_as_zero(data, tmp_path, monkeypatch, alone):
    """It isn't tried again in the next sitting."""
    begun = fail(monkeypatch, {3: CollapseError, 5: DivergenceError})
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop(patch, 4, 2)
        with pytest.raises(KeyboardInterrupt):
            train_tries(config(data, out), tries=3)
    run, said = train_tries(config(data, out), tries=3)
    assert begun == [3, 4, 5]
    assert read_json(run.tries)["scores"] == [None, 0.6, None]
    assert "try 3 failed: seed 5 is lost" in said
    assert "label-free scores: seed 3 failed, seed 4 0.600, seed 5 failed. Going on with seed 4" in said
    assert unlike(run, alone) == []


def test_where_all_fail_the_last_says_why(data, tmp_path, monkeypatch):
    begun = fail(monkeypatch, dict.fromkeys(SCORES, CollapseError))
    for _ in range(2):
        with pytest.raises(CollapseError, match=r"^seed 5 is lost$"):
            train_tries(config(data, tmp_path / "run"), tries=3)
    assert begun == [3, 4, 5, 5]
    assert RunFolder(tmp_path / "run").trying


# Stopped, or killed, and gone on with


@pytest.mark.parametrize(
    ("seed", "step", "how"),
    [
        *((3, 1, "train"), (4, 2, "train"), (4, 3, "resume")),
        *(pytest.param(4, step, how, marks=pytest.mark.slow) for step, how in ((3, "train"), (1, "resume"))),
    ],
)
def test_stopped_in_a_try_or_after_the_choice(data, tmp_path, monkeypatch, chosen, seed, step, how):
    run = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        stop(patch, seed, step)
        with pytest.raises(KeyboardInterrupt):
            train_tries(config(data, run.path))
    assert run.trying == (step < 3)
    if how == "train":
        train_tries(config(data, run.path))
    else:
        run = RunFolder(run.path.rename(tmp_path / "moved"))
        assert main(["resume", str(run.path)]) == 0
    assert [line for line in differences(run, chosen) if "tries.json" not in line] == []
    ours, theirs = (read_json(folder.tries) | {"config": None} for folder in (run, chosen))
    assert ours == theirs


def test_more_steps_by_either_command(data, tmp_path, chosen):
    run = RunFolder(shutil.copytree(chosen.path, tmp_path / "run"))
    assert main(["resume", str(run.path), "--steps", "5"]) == 0
    _, said = train_tries(config(data, run.path, steps=6))
    assert f"going on with {run.path} at step 5" in said
    assert "try 1" not in said
    assert load_tensors(run.last)[1]["step"] == 6
    assert run.config().seed == 4


@pytest.mark.slow
def test_killed_while_the_best_becomes_the_run(data, tmp_path, monkeypatch, ready, chosen):
    """At any write; it is no run before it is one that goes on as it should."""
    out = shutil.copytree(ready.path, tmp_path / "whole")
    with monkeypatch.context() as patch:
        written = dying(patch, None, out)
        train_tries(config(data, out))
    writes = [file.name for file in written]
    last = writes.index("run.json") + 1
    assert writes[:2] == ["tries.json"] * 2
    pieces = {"checkpoints", "samples", "model", "metrics.jsonl", "evaluation.json", "verdict.json"}
    assert sorted(writes[2:last]) == sorted([*pieces, "run.json"])
    for when in range(1, last + 2):
        run = RunFolder(shutil.copytree(ready.path, tmp_path / str(when)))
        with monkeypatch.context() as patch:
            dying(patch, when, run.path)
            with pytest.raises(Killed):
                train_tries(config(data, run.path))
        assert run.trying == (when <= last)
        assert main(["resume", str(run.path)]) == 0
        assert unlike(run, chosen) == []
        assert [file.name for file in run.path.glob(".*")] == [".lock"]


# What is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tries": 1}, "--try-steps needs --tries, of at least 2"),
        ({"try_steps": 0}, "--try-steps is 0: it must be from 1 to --steps, 4"),
        ({"try_steps": 6}, "--try-steps is 6: it must be from 1 to --steps, 4"),
        ({"try_steps": None}, "--try-steps is 1500: it must be from 1 to --steps, 4"),
        (
            {"try_steps": 3},
            "--try-steps is 3: masks are looked at every 2 steps (--eval-every), so it must be a multiple of "
            "that",
        ),
    ],
)
def test_what_cant_be_tried(data, tmp_path, options, said):
    with pytest.raises(ConfigError) as caught:
        train_tries(config(data, tmp_path / "run"), **options)
    assert str(caught.value) == said
    assert not (tmp_path / "run").exists()


def test_several_processes_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(tries, "is_distributed", lambda: True)
    monkeypatch.setattr(tries, "process_group", nullcontext)
    said = (
        r"^--tries is for one process: choose a seed with --steps 2 --tries 2 in one, then `redoseg resume "
        r"\S+/run --steps 4` goes on in all of them$"
    )
    with pytest.raises(ConfigError, match=said):
        train_tries(config(data, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stage", ["ready", "chosen"])
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"lr": 1e-3}, "--lr 0.0005, not 0.001"),
        ({"seed": 4}, "--seed 3, not 4"),
        ({"tries": 3}, "--tries 2, not 3"),
        ({"try_steps": 4}, "--try-steps 2, not 4"),
    ],
)
def test_a_changed_option_is_refused_by_name(data, request, stage, changed, named):
    begun = request.getfixturevalue(stage)
    before = begun.tries.read_bytes()
    how = {name: changed[name] for name in changed if name.startswith("tr")}
    options = {name: changed[name] for name in changed if name not in how}
    with pytest.raises(
        ConfigError, match=rf"^\S+ was trained with {named}: go back to that, or choose another --out"
    ):
        train_tries(config(data, begun.path, **options), **how)
    assert begun.tries.read_bytes() == before


def test_tries_are_no_run_yet(data, ready):
    said = rf"^\S+ holds tries, and none has become the run yet: `redoseg resume {ready.path}` goes on with"
    with pytest.raises(ConfigError, match=said):
        trained(config(data, ready.path))
    with pytest.raises(ConfigError, match=said):
        training.resume(ready.path)


def test_changed_data_are_refused(ready, tmp_path):
    other = photos(tmp_path / "other" / "photos", train=11, val=2)
    with pytest.raises(DataError, match=r"^the data of \S+ has changed since its tries were begun"):
        train_tries(config(other, ready.path))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"config": 1}'])
def test_a_damaged_record_is_one_clear_line(data, tmp_path, content):
    (tmp_path / "tries.json").write_text(content)
    with refusal(ModelError, match=r"tries\.json"):
        train_tries(config(data, tmp_path))


def test_by_one_process_at_a_time(data, ready):
    pytest.importorskip("fcntl")
    with (
        ready.locked(),
        pytest.raises(ConfigError, match=r"^another process is training \S+: wait, or stop it$"),
    ):
        train_tries(config(data, ready.path))


def test_a_folder_with_something_else_or_a_run_without_tries_in_it(data, tmp_path, alone):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"is there and is no run: choose another --out$"):
        train_tries(config(data, tmp_path))
    with pytest.raises(ConfigError, match=r"was begun without --tries: leave it out, or use another --out$"):
        train_tries(config(data, alone.path, seed=4))
    assert not alone.tries.exists()


def test_a_mistake_found_at_the_first_steps_may_be_mended(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail(patch, {3: ZeroDivisionError})  # as running out of memory would
        with pytest.raises(ZeroDivisionError):
            train_tries(config(data, tmp_path, steps=2), tries=3)
    run, _ = train_tries(config(data, tmp_path, steps=2, batch=5))
    assert run.config().batch == 5
    assert read_json(run.tries)["seeds"] == [3, 4]


# The command line


def typed(data, **changed):
    """The command's words."""
    options = TINY | FEW | changed
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    return ["train", data, "--out", "run", "--cache", data.parent / "cache", *words]


def test_through_the_command_line(data, tmp_path, monkeypatch, command, alone):
    monkeypatch.chdir(tmp_path)
    line = typed(data, tries=2, try_steps=2)
    found = json.loads(command(*line, "--dry-run", "--json")[1])
    assert found["tries"] == {"seeds": [3, 4], "steps": 2, "scores": [], "chosen": None}
    assert found["config"]["seed"] == 3
    assert "tries     seeds 3, 4, 2 steps each\n" in command(*line, "--dry-run")[1]
    assert not (tmp_path / "run").exists()

    with monkeypatch.context() as patch:
        stop(patch, 4, 1)
        code, _, said = command(*line)
    assert code == 130
    assert said.endswith("\nstopped; to go on: redoseg resume run\n")
    code, output, _ = command(*line)
    assert code == 0
    assert "run/samples/step-0000004.png" in output
    assert unlike(RunFolder(tmp_path / "run"), alone) == []

    found = json.loads(command(*line, "--dry-run", "--json")[1])
    assert found["tries"] == {"seeds": [3, 4], "steps": 2, "scores": [0.2, 0.6], "chosen": 4}
    assert found["config"]["seed"] == 4
    assert command("segment", "run", data / "images" / "000.png", "--out", "masks")[0] == 0


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_bad_values_are_one_line(data, command, more):
    assert command(*typed(data, tries=0), *more) == (1, "", "redoseg: --tries is 0: it must be at least 1\n")
