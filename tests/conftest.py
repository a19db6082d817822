"""Settings that hold for every test, and what many of them begin with."""

import gc
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from redoseg.cli import main
from redoseg.training import verdict
from tinyruns import photos, tiny, trained

# Networks here are tiny: threads would wait for one another longer than they work.
torch.set_num_threads(1)

# Ctrl-C is tested as in a shell's foreground: what a script begins with & has it ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of runs end here, and each would refine its 64 images for the verdict.
verdict.JUDGED = 2


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no process is left alone with one in the end. Tracing makes
    Python half as fast: `make coverage` does without where others reach the same lines."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, not item.get_closest_marker("training")))
    lines = (Path(__file__).parent / "untraced.txt").read_text().splitlines()
    names = {line for line in lines if not line.startswith("#")}
    for item in items:
        name = item.nodeid.removeprefix("tests/").partition("[")[0]
        if item.get_closest_marker("slow") or name in names or name.partition("::")[0] in names:
            item.add_marker("no_cover")


def pytest_collection_finish():
    """What is there before the first test stays: the collector needn't look at it a hundred times."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def command(capsys):
    """Runs a command line in this process: exit code, standard output, standard error."""

    def command(*arguments):
        try:
            code: object = main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return command


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bright squares, with masks."""
    return photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    """A run of four steps."""
    return trained(tiny(data, tmp_path_factory.mktemp("runs") / "done"))


@pytest.fixture(scope="module")
def browser():
    """Chromium, for tests marked `browser`: `make browser`. They are skipped where there is none."""
    wanted = os.environ.get("REDOSEG_BROWSER")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ModuleNotFoundError:
        if wanted:
            raise
        pytest.skip("playwright isn't installed")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        assert not wanted, "there is no Chromium: set $CHROMIUM"
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
