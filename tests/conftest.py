"""Settings that hold for every test, and what many of them begin with."""

import hashlib
import os

import pytest
import torch

from redoseg.cli import main
from redoseg.exporting import onnx
from redoseg.files import write_aside
from redoseg.training import verdict
from tinyruns import photos, tiny, trained

# Networks here are tiny: threads would wait for one another longer than they work.
torch.set_num_threads(1)

# Hundreds of runs end here, and each would refine its 64 images for the verdict.
verdict._REFINED = 2


@pytest.fixture(scope="module", autouse=True)
def _each_graph_is_traced_once(tmp_path_factory):
    """By all processes of the tests together: tracing a network for mask.onnx takes ten seconds of each."""
    base, trace = tmp_path_factory.getbasetemp(), onnx._trace_graph
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "graphs"
    folder.mkdir(exist_ok=True)

    def trace_once(network):
        shapes = [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]
        file = folder / hashlib.sha256(repr(shapes).encode()).hexdigest()
        if not file.exists():
            content = trace(network)
            write_aside(file, lambda aside: aside.write_bytes(content))
        return file.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "_trace_graph", trace_once)
        yield


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
