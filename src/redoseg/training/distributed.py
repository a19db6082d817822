"""The processes that train one run together: `torchrun ... -m redoseg train`, or one process alone."""

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

ANSWER = timedelta(minutes=10)  # in which every process must come to the same update
PATIENCE = timedelta(days=2)  # for what one process does alone: reading photos, scores, files


class SingleProcess:
    """One process alone: nothing to agree on. `ProcessGroup` is the same for several.

    `rank` counts from 0, `local_rank` does on each machine. What a run leaves is written by the main process
    only.
    """

    rank = local_rank = 0
    world = 1

    @property
    def is_main_process(self) -> bool:
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """This process's device. ConfigError for one that isn't there."""
        return pick_device(name)

    def check_batch(self, batch: int) -> None:
        """ConfigError for a batch that so many processes can't share."""

    def all_reduce_mean_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every process's gradients become their mean, in one exchange. One that is None counts as zero."""

    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Every process's tensors become their mean, in one exchange."""

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Every process's tensors become the first one's."""

    def sync_batch_norm(self, network: nn.Module) -> None:
        """Batch norms in the network are to use the statistics of the global batch."""

    def broadcast(self, make: Callable[[], T]) -> T:
        """What the first process makes, alone, however long that takes it."""
        return make()

    def check_same(self, fingerprint: object) -> None:
        """DataError if the main process has another one: its data are other files."""
        if fingerprint != self.broadcast(lambda: fingerprint):
            raise DataError(
                "the data of this machine are not those of the first one: copy the same files to all"
            )

    def any(self, flag: bool) -> bool:
        """Whether it is so in some process."""
        return flag

    def barrier(self) -> None:
        """For all the others, however long they take."""


class ProcessGroup(SingleProcess):
    """Several processes, on one machine or more. Each call is made by all of them, in the same order.

    Hosts agree over gloo, so that no device is waited for; tensors travel where they are. ProcessError where
    another process can't be reached.
    """

    def __init__(self, rank: int, world: int, local_rank: int) -> None:
        self.rank, self.world, self.local_rank = rank, world, local_rank
        self._patient = dist.new_group(backend="gloo", timeout=PATIENCE)

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
        with _reaching():
            dist.all_reduce(flat)
        _unflatten(flat, tensors)

    @torch.no_grad()
    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for alike in kinds.values():
            flat = _flatten(alike)
            with _reaching():
                dist.broadcast(flat, 0)
            _unflatten(flat, alike)

    def sync_batch_norm(self, network: nn.Module) -> None:
        for module in network.modules():
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, _SyncBatchNorm(child, self.world))

    def broadcast(self, make: Callable[[], T]) -> T:
        box: list[Any] = [make() if self.is_main_process else None]
        with _reaching():
            dist.broadcast_object_list(box, 0, group=self._patient)
        made: T = box[0]
        return made

    def any(self, flag: bool) -> bool:
        box = torch.tensor(int(flag))
        with _reaching():
            dist.all_reduce(box, dist.ReduceOp.MAX)
        return bool(box)

    def barrier(self) -> None:
        with _reaching():
            dist.barrier(self._patient)


@contextmanager
def process_group() -> Iterator[SingleProcess]:
    """The processes that torchrun started with this one; this one alone if none did.

    An error in any of them ends them all. The first to have one raises it; those that only lose touch
    thereby, or come to the same error, raise ElsewhereError, so that it is said once.
    """
    if not is_distributed():
        yield SingleProcess()
        return
    store, rank, world = next(rendezvous("env://"))
    # torchrun keeps its store when it starts all processes again (--max-restarts)
    store = PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=ANSWER)
    try:
        yield ProcessGroup(rank, world, int(os.environ.get("LOCAL_RANK", "0")))
    except Exception as error:
        if not _first_to_say(store):
            raise ElsewhereError("another process of the run has failed, and said why") from error
        if isinstance(error, dist.DistError):
            raise _lost(error) from error
        raise
    finally:
        dist.destroy_process_group()


def is_distributed() -> bool:
    """Whether this process is one of several that torchrun, or a launcher like it, has started."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main_process() -> bool:
    """Whether this process is the one that prints: the first, or the only one."""
    return not is_distributed() or os.environ["RANK"] == "0"


def _first_to_say(store: Any) -> bool:
    try:
        said: int = store.add("redoseg/said", 1)
    except RuntimeError:  # gone with the process that held it
        return True
    return said == 1


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo and NCCL raise
        raise _lost(error) from error


def _lost(error: RuntimeError) -> ProcessError:
    said = re.sub(r"^\[\S+\] ", "", str(error).strip()) or type(error).__name__  # without gloo's own line
    reason = re.split(r"\. |\n", said)[0]
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


def _sum(x: Tensor) -> Tensor:
    """The sum of every process's tensor, with a gradient."""
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    """Backwards a sum, too: each process's loss depends on each one's tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(x: Tensor) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    with _reaching():
        dist.all_reduce(x)
    return x


class _SyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over all processes' images; each must have one. `SyncBatchNorm` needs GPUs."""

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
        # in float32, and the variance about the mean of all: their squares' difference would lose digits
        pixels = x.float()
        size = torch.full((1,), x.numel() // x.shape[1], device=x.device, dtype=torch.float32)
        total = _sum(torch.cat((pixels.sum((0, 2, 3)), size)))
        mean, count = total[:-1] / total[-1], total[-1].detach()
        centred = pixels - mean[:, None, None]
        variance = _sum(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return (centred * torch.rsqrt(variance + self.eps)[:, None, None]).to(x.dtype)
