"""Communication of the processes that train one run (`torchrun ... -m redoseg train`), or of one alone."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from redoseg.errors import ConfigError, DataError, ElsewhereError, ProcessError
from redoseg.tensors import pick_device

T = TypeVar("T")

UPDATE_TIMEOUT = timedelta(minutes=10)  # within which every process must come to the same update
ALONE_TIMEOUT = timedelta(days=2)  # for what one process does alone: reading photos, scores, files


class SingleProcess:
    """One process, which has no other to communicate with. `ProcessGroup` has the same methods for several.
    `rank` counts all processes from 0, `local_rank` those of one machine. The main process is that of rank
    0."""

    rank = local_rank = 0
    world = 1

    @property
    def is_main_process(self) -> bool:
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """This process's device. ConfigError if there is no such device."""
        return pick_device(name)

    def check_batch(self, batch: int) -> None:
        """Raise ConfigError for a batch that can't be divided evenly among the processes."""

    def all_reduce_mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their mean over processes, in one exchange. None counts as zero."""

    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace the tensors by their mean over processes, in one exchange."""

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replace the tensors by the main process's."""

    def sync_batch_norm(self, network: nn.Module) -> None:
        """Make the network's batch norms use the statistics of the whole batch, over all processes."""

    def broadcast(self, make: Callable[[], T]) -> T:
        """What `make` returns in the main process, which alone calls it; the others wait."""
        return make()

    def check_same(self, fingerprint: object, what: str = "the data") -> None:
        """Raise DataError if the main process's fingerprint of `what` is another: it has other files."""
        if fingerprint != self.broadcast(lambda: fingerprint):
            raise DataError(
                f"{what} of this machine are not those of the first one: copy the same files to all"
            )

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag

    def barrier(self) -> None:
        """Wait until all processes are here."""


class ProcessGroup(SingleProcess):
    """Several processes, on one machine or more. All of them must make the same calls in the same order.
    Python objects go over gloo, so that no device has to be waited for; tensors go by their device's backend.
    Raises ProcessError if another process can't be reached."""

    def __init__(self, rank: int, world: int, local_rank: int) -> None:
        self.rank, self.world, self.local_rank = rank, world, local_rank
        self._objects_group = dist.new_group(backend="gloo", timeout=ALONE_TIMEOUT)

    def device(self, name: str) -> torch.device:
        if name in ("auto", "cuda") and torch.cuda.is_available():
            if self.local_rank >= (count := torch.cuda.device_count()):
                raise ConfigError(f"{count} GPUs here for more processes: use --nproc-per-node {count}")
            device = torch.device("cuda", self.local_rank)
            torch.cuda.set_device(device)
            return device
        device = torch.device("cpu") if name == "auto" else pick_device(name)
        if device.type != "cpu":
            raise ConfigError(f"--device {name} is one device for {self.world} processes: use cuda or cpu")
        return device

    def check_batch(self, batch: int) -> None:
        if batch % self.world:
            least = max(batch - batch % self.world, self.world)
            raise ConfigError(
                f"--batch {batch} can't be divided among {self.world} processes: use {least} or "
                f"{least + self.world}"
            )

    def all_reduce_mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        gradients = []
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            gradients.append(p.grad)
        self.all_reduce_mean_(gradients)

    @torch.no_grad()
    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        flat = _flatten(tensors).div_(self.world)
        with _communicating():
            dist.all_reduce(flat)
        _unflatten(flat, tensors)

    @torch.no_grad()
    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for alike in kinds.values():
            flat = _flatten(alike)
            with _communicating():
                dist.broadcast(flat, 0)
            _unflatten(flat, alike)

    def sync_batch_norm(self, network: nn.Module) -> None:
        for module in network.modules():
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, _SyncBatchNorm(child, self.world))

    def broadcast(self, make: Callable[[], T]) -> T:
        box: list[Any] = [make() if self.is_main_process else None]
        with _communicating():
            dist.broadcast_object_list(box, 0, group=self._objects_group)
        made: T = box[0]
        return made

    def any(self, flag: bool) -> bool:
        box = torch.tensor(int(flag))
        with _communicating():
            dist.all_reduce(box, dist.ReduceOp.MAX)
        return bool(box)

    def barrier(self) -> None:
        with _communicating():
            dist.barrier(self._objects_group)


@contextmanager
def process_group() -> Iterator[SingleProcess]:
    """A context with the group of processes that torchrun started, or with this process alone.
    An error in one of them ends them all. The first process with an error raises it; the others, which fail
    because of it or have the same error, raise ElsewhereError, so that it is printed once."""
    if not is_distributed():
        yield SingleProcess()
        return
    store, rank, world = next(rendezvous("env://"))
    # The prefix differs after torchrun has restarted the processes (--max-restarts): it keeps the store.
    store = PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=UPDATE_TIMEOUT)
    try:
        yield ProcessGroup(rank, world, int(os.environ.get("LOCAL_RANK", "0")))
    except Exception as error:
        if not _is_first_error(store):
            raise ElsewhereError("another process of the run has failed, and said why") from error
        if isinstance(error, dist.DistError):
            raise _process_error(error) from error
        raise
    finally:
        dist.destroy_process_group()


def is_distributed() -> bool:
    """Whether this process is one of several that torchrun, or a launcher like it, has started."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main_process() -> bool:
    """Whether this process is the one that prints: the first, or the only one."""
    return not is_distributed() or os.environ["RANK"] == "0"


def _is_first_error(store: Any) -> bool:
    try:
        return bool(store.add("redoseg/errors", 1) == 1)
    except RuntimeError:  # the store is gone with the process that held it
        return True


@contextmanager
def _communicating() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo and NCCL raise
        raise _process_error(error) from error


def _process_error(error: RuntimeError) -> ProcessError:
    text = re.sub(r"^\[\S+\] ", "", str(error).strip()) or type(error).__name__  # without gloo's line number
    reason = re.split(r"\. |\n", text)[0]
    return ProcessError(
        f"another process of the run was lost ({reason}): the same command goes on from the last checkpoint"
    )


def _flatten(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    torch._foreach_copy_(
        list(tensors), [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
    )


class _Sum(torch.autograd.Function):
    """The sum of all processes' tensors. The gradient is summed, too, as each process's loss depends on each
    process's tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduce_sum(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _all_reduce_sum(gradients[0])


def _all_reduce_sum(x: Tensor) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    with _communicating():
        dist.all_reduce(x)
    return x


class _SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes' images, at least one each. PyTorch's `SyncBatchNorm` needs GPUs."""

    def __init__(self, norm: nn.BatchNorm2d, world: int) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine)
        self.load_state_dict(norm.state_dict())
        self.to(norm.running_mean)
        self.world = world

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        # In float32, and with the variance about the common mean: E[x^2] - E[x]^2 would lose digits.
        pixels = x.float()
        size = torch.full((1,), x.numel() // x.shape[1], device=x.device, dtype=torch.float32)
        total = _Sum.apply(torch.cat((pixels.sum((0, 2, 3)), size)))  # type: ignore[no-untyped-call]
        mean, count = total[:-1] / total[-1], total[-1].detach()
        centred = pixels - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return (centred * torch.rsqrt(variance + self.eps)[:, None, None]).to(x.dtype)
