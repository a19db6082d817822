"""2 + 2 steps equal 4: a run that was interrupted, anyhow and anywhere, ends as one that was not."""

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from redoseg import resume
from redoseg.cli import main
from redoseg.errors import ConfigError, DataError, ModelError
from redoseg.exporting import onnx
from redoseg.method.algorithm import ReDO
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors, save_tensors
from redoseg.training import checkpoints
from redoseg.training.interrupts import Interrupts
from redoseg.training.log import MetricsLog
from redoseg.training.train import train
from refusals import refusal
from run_compared import Killed, collapse_at, differences, dying, equal, interrupted, log, opened, state_of
from tinyruns import photos, tiny, trained

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("data") / "photos", val=2)


@pytest.fixture(scope="module")
def four(data, tmp_path_factory):
    """An unbroken run of four steps."""
    return trained(tiny(data, tmp_path_factory.mktemp("runs") / "four"))


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    return trained(tiny(data, tmp_path_factory.mktemp("runs") / "stopped", steps=2))


@pytest.fixture
def two(stopped, data, tmp_path):
    """A run that has been stopped after two of four steps; the config of four."""
    return tiny(data, Path(shutil.copytree(stopped.path, tmp_path / "run")))


# Equal to an unbroken run


def test_two_and_two_steps_are_four(two, four):
    """Networks, optimisers, average, best, kept steps, log, pictures, scores, model."""
    run = trained(two)
    assert differences(run, four) == []
    assert load_tensors(run.last)[1]["step"] == 4
    assert any(name.startswith("adam.D.") for name in load_tensors(run.last)[0])


def test_what_differs_is_seen(four, tmp_path):
    """The comparison is not blind: one bit, one line, one file, one score."""
    for name in ("last", "metrics", "sample", "extra", "evaluation", "model"):
        run = RunFolder(shutil.copytree(four.path, tmp_path / name))
        assert differences(run, four) == []
        if name == "last":
            tensors, info = load_tensors(run.last)
            tensors["adam.D.0.exp_avg_sq"].view(-1)[0] = 1.0
            save_tensors(run.last, tensors, info)
        elif name == "metrics":
            run.metrics.write_text(run.metrics.read_text().replace('"step": 3', '"step": 5'))
        elif name == "sample":
            (run.samples / "step-0000004.png").write_bytes(b"")
        elif name == "extra":
            (run.checkpoints / "more").touch()
        elif name == "evaluation":
            run.evaluation.write_text("{}")
        else:
            (run.model / "model.safetensors").write_bytes(b"")
        assert len(differences(run, four)) == 1, name


@pytest.mark.parametrize("options", [
    {"eval_every": 3, "sample_every": 3, "save_every": 3, "collapse_every": 3, "n": 3, "flip": True,
     "d_updates": 2, "lr_f_warmup": 3},
    {"recipe": "authors", "lr": 1e-3, "lr_f": 1e-3},
    {"precision": "bfloat16", "redraw": "all", "binarise": 1.0, "binarise_from": 2, "min_region": 0.1},
], ids=["odd", "authors", "bfloat16"])  # fmt: skip
def test_whatever_the_options(data, tmp_path, monkeypatch, options):
    unbroken = trained(tiny(data, tmp_path / "unbroken", **options))
    config = tiny(data, tmp_path / "broken", **options)
    run = interrupted(config, monkeypatch, 2)
    assert load_tensors(run.last)[1]["step"] == 2
    assert differences(trained(config), unbroken) == []


def test_ctrl_c_at_the_last_step(data, four, tmp_path, monkeypatch):
    """Before the last picture, scores and model are written."""
    config = tiny(data, tmp_path / "run")
    run = interrupted(config, monkeypatch, 4)
    assert not run.model.exists()
    assert differences(trained(config), four) == []


def test_across_a_restart(data, tmp_path, monkeypatch):
    """Interrupted in the attempt that dies, and in the one that lives."""
    collapse_at(monkeypatch, (0, 3))
    unbroken = trained(tiny(data, tmp_path / "unbroken"))
    config = tiny(data, tmp_path / "broken")
    for attempt, step in ((0, 2), (1, 1), (1, 3)):
        run = interrupted(config, monkeypatch, step)
        info = load_tensors(run.last)[1]
        assert (info["step"], info["attempt"], len(info["restarts"])) == (step, attempt, attempt)
    assert differences(trained(config), unbroken) == []
    assert [line["step"] for line in log(run)] == [1, 2, 3, 1, 2, 3, 4]
    assert log(run)[-1]["restarts"] == 1


def test_a_finished_run_begun_again_stays_as_it_is(data, four, tmp_path):
    run = RunFolder(shutil.copytree(four.path, tmp_path / "run"))
    trained(tiny(data, run.path))
    assert differences(run, four) == []


def test_through_the_command_line(data, four, two):
    run = RunFolder(two.out)
    assert main(["resume", str(run.path), "--steps", "4"]) == 0
    assert differences(run, four) == []
    assert main(["resume", str(run.path), "--minutes", "1e6", "--threads", "1", "--device", "cpu"]) == 0
    assert run.config() == dataclasses.replace(two, minutes=1e6, threads=1).resolved()
    assert differences(run, four) == ["run.json: the runs' descriptions"]


def test_a_run_can_be_moved(two, four, tmp_path):
    run = RunFolder(two.out.rename(tmp_path / "elsewhere"))
    assert main(["resume", str(run.path), "--steps", "4"]) == 0
    assert differences(run, four) == []


# Killed at every write


@pytest.fixture(scope="module")
def reference(data, tmp_path_factory):
    """A run that writes at every step and starts again after a collapse; how many files it writes."""
    with pytest.MonkeyPatch.context() as patch:
        writes = dying(patch, None)
        return trained(busy(data, tmp_path_factory.mktemp("runs") / "reference", patch)), len(writes)


def busy(data, out, monkeypatch):
    collapse_at(monkeypatch, (0, 2))
    return tiny(data, out, steps=2, eval_every=1, attention=False)


@pytest.mark.slow
def test_killed_at_any_write(data, reference, tmp_path, monkeypatch):
    unbroken, writes = reference
    assert writes > 10
    for when in range(1, writes + 1):
        config = busy(data, tmp_path / str(when), monkeypatch)
        with monkeypatch.context() as patch:
            dying(patch, when)
            with pytest.raises(Killed):
                trained(config)
        torn = list(config.out.rglob(".*.4194999"))
        assert len(torn) == 1
        run = trained(config)
        assert differences(run, unbroken) == [], f"killed at write {when}, {torn[0].name}"


@pytest.mark.parametrize("when", [1, 3])
def test_killed_in_the_middle_of_a_log_line(data, reference, tmp_path, monkeypatch, when):
    real, lines = MetricsLog.write, []

    def write(self, **line):
        lines.append(line)
        if len(lines) == when:
            with open(self.path, "a") as file:
                file.write('{"step": 1, "ima')
            raise Killed
        real(self, **line)

    config = busy(data, tmp_path / "run", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", write)
        with pytest.raises(Killed):
            trained(config)
    assert differences(trained(config), reference[0]) == []


def test_a_run_from_before_there_was_a_rule_without_masks_gets_one(two):
    run = RunFolder(two.out)
    run.label_free.unlink()
    tensors, info = load_tensors(run.last)
    del info["label_free"]
    save_tensors(run.last, tensors, info)
    assert load_tensors(trained(two).label_free)[1]["step"] == 4


def test_log_lines_after_the_checkpoint_are_dropped(two, four):
    run = RunFolder(two.out)
    with open(run.metrics, "a") as file:
        file.write('{"step": 3}\n{"step":')
    assert differences(trained(two), four) == []


def test_checkpoints_and_pictures_after_the_checkpoint_are_dropped(two, four):
    """They are of steps that come again, perhaps otherwise: on another device."""
    run = RunFolder(two.out)
    run.step(3).write_bytes(b"")
    (run.samples / "step-0000003.png").write_bytes(b"")
    assert differences(trained(two), four) == []


def test_a_log_that_was_deleted_starts_again(two):
    run = RunFolder(two.out)
    run.metrics.unlink()
    trained(two)
    assert [line["step"] for line in log(run)] == [3, 4]


def test_files_half_written_are_ignored_and_removed(two, four):
    run = RunFolder(two.out)
    for file in (run.last, run.best, run.label_free, run.description, run.samples / "step-0000002.png"):
        file.with_name(f".{file.name}.123").write_bytes(b"half")
    assert differences(trained(two), four) == []


def test_a_run_that_died_before_it_was_described_can_begin(data, four, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.123").write_text("{")
    assert differences(trained(tiny(data, tmp_path / "run")), four) == []


# Ctrl-C


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(data, tmp_path):
    """A checkpoint is written, the command that goes on is printed, and does."""
    run = RunFolder(tmp_path / "a run")
    options = (
        "--size 32 --width 4 --g-width 4 --f-width 4 --f-blocks 1 --code-size 4 --batch 4 --steps 100000 "
        "--save-every 100000 --eval-every 100000 --sample-every 100000 --collapse-every 1 --device cpu "
        "--collapse-below 0 --collapse-variation 0"
    )
    command = [sys.executable, "-m", "redoseg", "train", str(data), "--out", str(run.path)]
    with subprocess.Popen(
        [*command, "--cache", str(tmp_path), *options.split()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 300
        while process.poll() is None and not (run.metrics.is_file() and run.metrics.stat().st_size):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said.splitlines()[-1] == f"stopped; to go on: redoseg resume '{run.path}'"
    assert "Traceback" not in said
    assert output == ""
    info = load_tensors(run.last)[1]
    assert info["step"] >= 1
    assert [line["step"] for line in log(run)][-1] == info["step"]
    assert main(["resume", str(run.path), "--steps", str(info["step"] + 1)]) == 0
    assert load_tensors(run.last)[1]["step"] == info["step"] + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_are_a_ctrl_c(data, four, tmp_path, monkeypatch, number):
    monkeypatch.setattr(signal, "SIGINT", number)  # what `interrupted` sends
    config = tiny(data, tmp_path / "run")
    run = interrupted(config, monkeypatch, 3)
    monkeypatch.undo()
    assert load_tensors(run.last)[1]["step"] == 3
    assert differences(trained(config), four) == []


def test_nohup_is_minded(data, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_folder_of_the_same_name_is_not_trained_on(two, four, tmp_path, monkeypatch):
    """The data was given as a relative path, and the run goes on from another folder."""
    description = json.loads(two.out.joinpath("run.json").read_text())
    assert description["data_from_here"] == [os.path.relpath(two.data[0], os.path.realpath(two.out))]
    description["config"]["data"] = ["photos"]
    two.out.joinpath("run.json").write_text(json.dumps(description))
    monkeypatch.chdir(tmp_path)
    assert RunFolder(two.out).find_data(["photos"]) == (os.path.realpath(two.data[0]),)
    photos(tmp_path / "photos", train=4, val=2)
    with pytest.raises(DataError, match="has changed since it was trained on"):
        resume(two.out, steps=4)


def test_signals_are_given_back(four, data, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    trained(tiny(data, tmp_path / "run", steps=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# Two at once


def test_a_run_is_trained_by_one_process_at_a_time(two, four):
    said = r"^another process is training \S+: wait, or stop it$"
    with RunFolder(two.out).locked(), pytest.raises(ConfigError, match=said):
        trained(two)
    assert differences(trained(two), four) == []


def test_the_lock_goes_with_its_process(two, four):
    """Killed, it leaves the file but no lock."""
    code = (
        f"import os; from pathlib import Path; from redoseg.models.run_folder import RunFolder; "
        f"RunFolder(Path({str(two.out)!r})).locked().__enter__(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert differences(trained(two), four) == []


def test_a_file_system_without_locks_is_named_once_and_trained_on(two, four, monkeypatch, caplog):
    monkeypatch.setattr("filelock.FileLock.acquire", lambda self: (_ for _ in ()).throw(NotImplementedError))
    assert differences(trained(two), four) == []
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{two.out} is on a file system without locks")


# What is refused


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, r"--seed 0, not 1"),
        ({"g_width": 8}, r"--g-width 4, not 8"),
        ({"n": 3}, r"--n 2, not 3"),
        ({"flip": False}, r"--flip True, not False"),
        ({"recipe": "paper"}, r"--recipe default, not paper"),
        ({"collapse_below": 0.02}, r"--collapse-below 0.01, not 0.02"),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_a_changed_option_is_refused_by_name(data, four, changed, named):
    before = four.description.read_bytes()
    with refusal(
        ConfigError, match=rf"^\S+ was trained with {named}: go back to that, or choose another --out"
    ) as caught:
        trained(dataclasses.replace(tiny(data, four.path), **changed))
    assert f"redoseg resume {four.path}" in str(caught.value)
    assert four.description.read_bytes() == before


def test_options_may_change_while_nothing_is_trained(data, tmp_path):
    config = tiny(data, tmp_path / "run", steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReDO, "generator_update", lambda *_: 1 / 0)  # as running out of memory would
        with pytest.raises(ZeroDivisionError):
            train(config, console=Console(file=io.StringIO()))
    assert RunFolder(config.out).exists
    changed = dataclasses.replace(config, batch=config.batch - 1)
    run = trained(changed)
    assert run.config().batch == changed.batch
    assert load_tensors(run.last)[1]["step"] == 2


def test_more_steps_are_allowed_and_fewer_refused(two):
    trained(two)
    before = RunFolder(two.out).description.read_bytes()
    with pytest.raises(ConfigError, match=r"at step 4 already: --steps can only grow$"):
        trained(dataclasses.replace(two, steps=3))
    assert RunFolder(two.out).description.read_bytes() == before


def test_options_that_change_nothing_learned_are_free(data, two, four, tmp_path):
    copied = shutil.copytree(data, tmp_path / "photos")
    free = {"data": (str(copied),), "cache": tmp_path / "cache", "minutes": 1e6, "threads": 1}
    run = trained(dataclasses.replace(two, **free))
    assert differences(run, four) == ["run.json: the runs' descriptions"]
    assert run.config() == dataclasses.replace(two, **free).resolved()


def test_changed_data_are_refused(two, tmp_path):
    folder = Path(shutil.copytree(two.data[0], tmp_path / "photos"))
    config = dataclasses.replace(two, data=(str(folder),))
    shutil.copy(folder / "images" / "000.png", folder / "images" / "new.png")
    (folder / "splits.csv").write_text((folder / "splits.csv").read_text() + "\nnew,train\n")
    run = RunFolder(two.out)
    before = {file: file.read_bytes() for file in (run.last, run.description, run.metrics)}
    with refusal(DataError, match=r"the data of \S+ has changed since it was trained on"):
        trained(config)
    assert {file: file.read_bytes() for file in before} == before


def test_masks_may_come_later(data, four, tmp_path):
    """They are no data to learn from: the run goes on as it was, and is scored from there."""
    folder = Path(shutil.copytree(data, tmp_path / "photos", ignore=shutil.ignore_patterns("masks")))
    run = trained(tiny(folder, tmp_path / "run", steps=2))
    assert not run.evaluation.exists()
    shutil.copytree(data / "masks", folder / "masks")
    trained(tiny(folder, run.path))
    assert equal(load_tensors(run.last)[0], load_tensors(four.last)[0])
    assert run.evaluation.read_text() == four.evaluation.read_text()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: shutil.copy(path.with_name("step-0000002.safetensors"), path),
    ],
    ids=["half", "another"],
)
def test_a_damaged_checkpoint_is_one_clear_line(two, damage):
    run = RunFolder(two.out)
    damage(run.last)
    before = run.description.read_bytes(), run.metrics.read_bytes()
    with refusal(ModelError) as caught:
        trained(two)
    assert str(run.last) in str(caught.value)
    assert (run.description.read_bytes(), run.metrics.read_bytes()) == before


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config": {"data": ["digit"]}}', '{"config": 3}'])
def test_a_damaged_description_is_one_clear_line(two, content):
    RunFolder(two.out).description.write_text(content)
    with refusal(ModelError, match=r"run\.json"):
        trained(two)


def test_a_description_of_another_version_is_one_clear_line(two):
    run = RunFolder(two.out)
    run.description.write_text(run.description.read_text().replace('"lambda_z"', '"lambda_y"'))
    with refusal(ModelError, match=r"run\.json doesn't describe a run of this version .*lambda_y"):
        trained(two)


@pytest.mark.parametrize("what", ["hidden", "folder"])
def test_a_folder_with_something_else_in_it_is_refused(data, tmp_path, what):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".mine").write_text("mine") if what == "hidden" else (out / "photos").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"is there and is no run: choose another --out$"):
        trained(tiny(data, out))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_taken(data, four, tmp_path):
    assert differences(trained(tiny(data, tmp_path)), four) == []


def test_that_all_is_done_is_said(four):
    said, before = io.StringIO(), (four.path / "metrics.jsonl").read_bytes()
    train(four.config(), console=Console(file=said, width=500))
    assert f"{four.path} has done all its steps, 4: more with --steps" in said.getvalue()
    assert (four.path / "metrics.jsonl").read_bytes() == before


def test_going_on_is_said(two):
    said = io.StringIO()
    train(two, console=Console(file=said, width=500))
    assert f"going on with {two.out} at step 2" in said.getvalue()


def test_all_of_the_state_is_in_the_file(two):
    """What a run holds after resuming is what it held: moments of all four optimisers included."""
    state = state_of(opened(two).learner.redo)
    tensors, _ = load_tensors(RunFolder(two.out).last)
    assert state.keys() == tensors.keys()
    assert all(torch.equal(state[name], tensors[name]) for name in state)
    assert {name.split(".")[1] for name in state if name.startswith("adam.")} == {"f", "G", "D", "delta"}


def test_ctrl_c_while_the_model_is_written_stops_once_it_is(data, tmp_path, monkeypatch):
    """It is noted meanwhile, and then done."""

    def save_model(f, folder, *given):
        signal.raise_signal(signal.SIGINT)
        return saved(f, folder, *given)

    saved = onnx.save_model
    monkeypatch.setattr(checkpoints, "save_model", save_model)
    with pytest.raises(KeyboardInterrupt):
        trained(tiny(data, tmp_path / "run"))
    assert (RunFolder(tmp_path / "run").model / "mask.onnx").is_file()
