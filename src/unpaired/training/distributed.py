"""Several processes that train one model, started by torchrun: who they are, what they say to one another, how one that
waits in vain ends, and batch normalisation over the images of all."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, final

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as on_all
from torch import Tensor, nn

from unpaired.core.device import find_device
from unpaired.core.errors import LostError, ReportedElsewhere, UserError
from unpaired.core.terminal import note
from unpaired.training.rendezvous import fresh_store

T = TypeVar("T")

STEP_TIMEOUT = timedelta(minutes=10)
"""A process that waits longer than this for the others' gradients takes them for dead."""
WORK_TIMEOUT = timedelta(days=1)
"""The same while one process does something for all, such as checking a million files."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a training, as one of them sees them; `ALONE` where there is one."""

    rank: int = 0
    """Number of this process, from 0; the first one writes everything."""
    size: int = 1
    """How many processes there are, on all machines together."""
    local_rank: int = 0
    """Number of this process on its machine, and of its GPU."""
    control: Any = None
    """The process group that everything but gradients goes through, on the CPUs."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def average(self, values: Tensor) -> None:
        """Replace values by their mean over all processes, in place; can be recorded in a CUDA graph."""
        if self.size == 1:
            return
        try:
            dist.all_reduce(values)  # a sum: gloo knows no mean
        except RuntimeError as error:
            if values.is_cuda and torch.cuda.is_current_stream_capturing():
                raise  # the recording fails, and the step is taken as usual
            raise _lost(error) from error
        values.div_(self.size)

    def copy_from_first(self, tensors: list[Tensor]) -> None:
        """Give every process the first one's values, in place."""
        if self.size == 1:
            return
        try:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)
        except RuntimeError as error:
            raise _lost(error) from error

    def collect(self, value: Any) -> list[Any]:
        """Return every process's value, in the order of their ranks, to every process."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            try:
                dist.all_gather_object(values, value, group=self.control)
            except RuntimeError as error:
                raise _lost(error) from error
        return values

    def collect_on_first(self, value: Any) -> list[Any] | None:
        """Return every process's value, in the order of their ranks, to the first process and None to the others."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_first else None
        try:
            dist.gather_object(value, values, 0, group=self.control)
        except RuntimeError as error:
            raise _lost(error) from error
        return values

    def on_all_ranks(self, work: Callable[[], T]) -> T:
        """Do the same in every process; where it fails in one with a `UserError`, it fails in all and one tells it."""
        result: T
        failed: UserError | None = None
        try:
            result = work()
        except UserError as error:
            failed = error
        reasons = self.collect(None if failed is None else str(failed))
        teller = next((rank for rank, reason in enumerate(reasons) if reason is not None), None)
        if teller is None:
            return result
        if failed is not None and teller == self.rank:
            raise failed
        raise ReportedElsewhere(str(reasons[teller]))

    def first_on_each_machine(self, work: Callable[[], T]) -> T:
        """Do the same in every process, in one of each machine before the others, which then find its caches."""
        if self.size == 1:
            return work()
        ahead = self.on_all_ranks(work if self.local_rank == 0 else lambda: None)
        return self.on_all_ranks(work if ahead is None else lambda: ahead)


ALONE = World()


@contextlib.contextmanager
def process_group(device: str) -> Iterator[tuple[World, torch.device]]:
    """Yield the world that torchrun's environment describes, and this process's device; leave it in the end.

    Without torchrun: one process, on the device that `device` names. Raises `UserError` where the environment is
    incomplete, there are more processes than GPUs on a machine, or the others cannot be reached.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        yield ALONE, find_device(device)
        return
    rank, local_rank = _number("RANK"), _number("LOCAL_RANK")
    place = _own_device(device, local_rank)
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo",
            store=fresh_store(rank, size, STEP_TIMEOUT),
            rank=rank,
            world_size=size,
            timeout=STEP_TIMEOUT,
            device_id=place if place.type == "cuda" else None,
        )
        control = dist.new_group(backend="gloo", timeout=WORK_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {rank} of {size} cannot reach the others ({_first_line(error)}). Start training with torchrun, "
            "such as: torchrun --nproc-per-node 2 -m unpaired train ..."
        ) from error
    try:
        yield World(rank, size, local_rank, control), place
    finally:
        # Not where a process was lost: its peers would wait for it there.
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def _own_device(name: str, local_rank: int) -> torch.device:
    device = find_device(name)
    if device.type == "mps":
        raise UserError(
            "--device mps: Apple's GPU trains in one process only. Start without torchrun, or --device cpu."
        )
    if device.type == "cpu":
        return device
    if device.index is not None:
        raise UserError(
            f"--device {name}: with several processes each takes the GPU of its number. Leave --device out; "
            "CUDA_VISIBLE_DEVICES chooses among GPUs."
        )
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"there are more processes on this machine ({_number('LOCAL_WORLD_SIZE', local_rank + 1)}) than GPUs "
            f"({torch.cuda.device_count()}). Start as many as there are GPUs: torchrun --nproc-per-node gpu ..."
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit():
        received = "is missing" if text is None else f'is "{text}"'
        raise UserError(
            f"the environment says that several processes train together (WORLD_SIZE), but {name} {received}. Start "
            "them with torchrun, such as: torchrun --nproc-per-node 2 -m unpaired train ..."
        )
    return int(text)


def _lost(error: RuntimeError) -> LostError:
    return LostError(
        f"another process of this training has ended or no longer answers ({_first_line(error)}). The newest "
        "checkpoint is intact; when the cause is found, resume with --resume, with as many processes as you like."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


CHECKS = 20
"""Looks per timeout."""


class Watchdog:
    """While entered, ends the process with code 2 and a message when `beat` has not been called for too long.

    A recorded step waits on the GPU for the other processes' gradients, where neither PyTorch's own timeout nor a
    signal reaches it. gloo and unrecorded steps have timeouts of their own and need no watchdog.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._beats = self._seen = self._silent_checks = 0
        self._paused = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    def beat(self) -> None:
        """Say that the training goes on."""
        self._beats += 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Wait without limit while one process does something that the others wait for."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False
            self.beat()

    def has_been_silent(self) -> bool:
        """Look once; true where there was no beat between the last `CHECKS` looks, pauses apart."""
        self._silent_checks = self._silent_checks + 1 if self._beats == self._seen and not self._paused else 0
        self._seen = self._beats
        return self._silent_checks >= CHECKS

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._timeout_seconds / CHECKS):
            if self.has_been_silent():
                note(
                    f"error: no step has ended for {self._timeout_seconds:g} seconds: another process of this training "
                    "has ended or no longer answers. The newest checkpoint is intact; resume with --resume."
                )
                os._exit(2)


@final
class SynchronizedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training are those of all processes, each with as many values.

    PyTorch's own `SyncBatchNorm` computes on CUDA only. Parameters, buffers and their names are those of BatchNorm2d.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise [N, C, H, W] over N, H and W of all processes."""
        if not self.training:
            return super().forward(features)
        values = features.float() if features.dtype in (torch.float16, torch.bfloat16) else features
        processes = torch.distributed.get_world_size()
        own = values.mean((0, 2, 3))
        mean = _sum(own) / processes
        # Not the mean square minus the squared mean, which cancels where the mean is large.
        own_variance = (values - own[:, None, None]).square().mean((0, 2, 3))
        variance = _sum(own_variance + (own - mean).square()) / processes
        self._remember(mean.detach(), variance.detach(), values.numel() // values.shape[1] * processes)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        normalized: Tensor = (values - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        return normalized.to(features.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * (count / max(1, count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)


def _sum(values: Tensor) -> Tensor:
    """Return the sum over all processes; the gradient takes the same way back."""
    total: Tensor = on_all.all_reduce(values)  # type: ignore[no-untyped-call]
    return total


def synchronize_batch_norm(module: nn.Module, world: World) -> None:
    """Replace every batch norm inside `module`, whose weights stay the same objects; nothing for one process.

    Raises UserError where there is none.
    """
    if not any(type(child) is nn.BatchNorm2d for child in module.modules()):
        raise UserError(
            "training.sync_batchnorm is on, and none of the networks has a batch norm. Leave it out; instance norm has "
            "nothing to synchronise."
        )
    if world.size > 1:
        _replace(module)


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            synchronized = SynchronizedBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            synchronized._parameters = child._parameters
            synchronized._buffers = child._buffers
            module.add_module(name, synchronized.train(child.training))
        else:
            _replace(child)
