"""Settings that hold for every test, and what many of them begin with."""

import pytest
import torch

from redoseg.cli import main
from redoseg.training import verdict
from tinyruns import photos, tiny, trained

# Networks here are tiny: threads would wait for one another longer than they work.
torch.set_num_threads(1)

# Hundreds of runs end here, and each would refine its 64 images for the verdict.
verdict._REFINED = 2


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
