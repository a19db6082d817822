"""CUDA graphs: an update's kernels are recorded once and then replayed at one go.

At these sizes an update is thousands of small kernels, and a processor takes several times longer to launch
them than the GPU takes to run them. A replay launches all of them at once. Nothing is compiled: recording
takes a second or two.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from redoseg.errors import ConfigError

_WARM = 3  # runs before recording, in which libraries choose their kernels and allocate what they keep

Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]


def should_record(mode: str, device: torch.device, *, alone: bool) -> bool:
    """Whether --compile `mode` records the updates on a device: 'auto' does on CUDA in one process. What
    several processes tell one another isn't replayed. ConfigError for 'graphs' where it can't be done."""
    possible = alone and device.type == "cuda"
    if mode == "graphs" and not possible:
        raise ConfigError("--compile graphs needs a CUDA device and one process: use --compile auto")
    return mode in ("auto", "graphs") and possible


@dataclass(frozen=True)
class _Recording:
    """A graph, the tensors from which it reads, and those to which it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    loss: Tensor
    metrics: dict[str, Tensor]
    gradients: list[Tensor | None]


class RecordedLoss:
    """A loss and its gradients, recorded at the first call with inputs of new shapes or new other values, and
    replayed at all further ones."""

    def __init__(self, loss: Loss, parameters: Iterable[nn.Parameter], networks: Sequence[nn.Module]) -> None:
        """`loss` gives a scalar and metrics, and may change buffers of `networks`, but no weight.
        `parameters` get the gradients."""
        self._loss, self._parameters, self._networks = loss, list(parameters), networks
        self._recorded: dict[tuple[Any, ...], _Recording] = {}
        self._pool: Any = None

    def __call__(self, *inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its metrics; sets the parameters' `grad`. inputs: tensors, None, numbers, or tuples of
        them; what a tuple of counts says is part of the recording."""
        leaves, spec = tree_flatten(inputs)
        key = tuple((leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        if key not in self._recorded:
            self._recorded[key] = self._record(leaves, spec)
        recording = self._recorded[key]
        given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        torch._foreach_copy_(recording.inputs, given)
        recording.graph.replay()
        for parameter, gradient in zip(self._parameters, recording.gradients, strict=True):
            parameter.grad = gradient
        # The next replay writes to the same places.
        return recording.loss.clone(), {name: value.clone() for name, value in recording.metrics.items()}

    def _record(self, leaves: list[Any], spec: TreeSpec) -> _Recording:
        """Record a run on copies of these inputs. Runs before it leave no trace in the networks' buffers."""
        fixed = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        inputs = tree_unflatten(fixed, spec)
        buffers = [buffer for network in self._networks for buffer in network.buffers()]
        before = [buffer.clone() for buffer in buffers]
        current, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(_WARM):
                self._run(inputs)
        current.wait_stream(aside)
        for buffer, content in zip(buffers, before, strict=True):
            buffer.copy_(content)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on: one of them pins memory for the next batches.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            loss, metrics = self._run(inputs)
        self._pool = graph.pool()
        gradients = [parameter.grad for parameter in self._parameters]
        tensors = [leaf for leaf in fixed if isinstance(leaf, Tensor)]
        return _Recording(graph, tensors, loss, metrics, gradients)

    def _run(self, inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        for parameter in self._parameters:
            parameter.grad = None  # so that gradients are written, not added
        loss, metrics = self._loss(*inputs)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), {name: value.detach() for name, value in metrics.items()}
