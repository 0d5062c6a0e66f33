"""The whole training step as one CUDA graph: recorded once, then replayed with new batches in place of the old ones."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unpaired.methods.base import Batch

WARM_UP_STEPS = 3
"""Ordinary steps before the recording: they create the optimisers' state and let libraries choose their kernels."""

Losses = dict[str, Tensor]
Recorder = Callable[[Callable[[], Losses]], tuple[Losses, Callable[[], None]]]
"""Records what a function does without doing it; returns the tensors that every replay fills, and the replay."""


class RecordedStep:
    """A training step that is taken as usual a few times, then recorded, then replayed.

    A replay does exactly what was recorded: the same kernels on the same memory, with random numbers, learning rates
    and pools that go on. So the step must be capture-safe, every batch must have one shape, and each step must take
    the same number of batches. Where recording fails, a warning says why and steps go on being taken as usual; nothing
    of the training is lost, since recording does not compute.
    """

    def __init__(
        self,
        take: Callable[[Iterator[Batch]], Losses],
        recorder: Recorder | None = None,
        warn: Callable[[str], None] = warnings.warn,
    ) -> None:
        self._take, self._warn = take, warn
        self._record = recorder if recorder is not None else cuda_recorder
        self._on_side_stream = recorder is None
        self._side: torch.cuda.Stream | None = None
        self._taken = 0
        self._inputs: list[Batch] = []
        self._losses: Losses = {}
        self._replay: Callable[[], None] | None = None
        self.failed = False
        """Whether the step could not be recorded."""

    def step(self, batches: Iterator[Batch]) -> Losses:
        """Take one step. The losses of a replayed step are overwritten by the next one."""
        if self.failed:
            return self._take(batches)
        if self._replay is None and self._taken < WARM_UP_STEPS:
            return self._warm_up(batches)
        fresh = [next(batches) for _ in self._inputs]
        if self._replay is None and not self._try_to_record(fresh):
            return self._take(iter(fresh))
        for static, batch in zip(self._inputs, fresh, strict=True):
            static.x.copy_(batch.x)
            static.y.copy_(batch.y)
        assert self._replay is not None
        self._replay()
        return self._losses

    def close(self) -> None:
        """Forget the recording and free its memory; NCCL waits for that before it leaves a process group."""
        self._replay, self._losses, self._inputs = None, {}, []

    def _warm_up(self, batches: Iterator[Batch]) -> Losses:
        counted: list[Batch] = []

        def counting() -> Iterator[Batch]:
            for batch in batches:
                counted.append(batch)
                yield batch

        self._taken += 1
        if self._on_side_stream:
            # As PyTorch asks: what runs before a recording must not run on the default stream.
            # One stream for all of them: memory that one stream has used is not used again on another.
            side = self._side = self._side or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                losses = self._take(counting())
            torch.cuda.current_stream().wait_stream(side)
        else:
            losses = self._take(counting())
        self._inputs = counted
        return losses

    def _try_to_record(self, fresh: list[Batch]) -> bool:
        self._inputs = [Batch(batch.x.clone(), batch.y.clone()) for batch in fresh]
        try:
            self._losses, self._replay = self._record(lambda: self._take(iter(self._inputs)))
        except RuntimeError as error:
            self.failed = True
            self._warn(f"the step cannot be recorded as a CUDA graph and is taken as usual, which is slower: {error}")
            return False
        return True


def cuda_recorder(function: Callable[[], Losses]) -> tuple[Losses, Callable[[], None]]:
    """Record on the present CUDA device; other threads may go on allocating pinned memory meanwhile.

    Raises RuntimeError where that fails; stream, random numbers and memory are then as if nothing had been tried.
    """
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # what the warm-up used is not available to the graph's own pool otherwise
    device = torch.cuda.current_device()
    random = torch.cuda.default_generators[device].clone_state()
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    try:
        # The outer context: a recording that fails would leave its own stream the present one.
        with (
            torch.cuda.stream(torch.cuda.current_stream()),
            torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
        ):
            losses = function()
    except RuntimeError:
        _undo(device, random, pool)
        raise
    return losses, graph.replay


def _undo(device: int, random: torch.Generator, pool: tuple[int, int]) -> None:
    """Leave the state of recording, which PyTorch does not do itself where CUDA has declared a recording invalid.

    Its random numbers would be refused from then on, and memory used on two streams, as batches are, never freed.
    """
    torch.cuda.default_generators[device].graphsafe_set_state(random)
    with contextlib.suppress(RuntimeError):  # it has been left: the error was none of CUDA's
        torch._C._cuda_endAllocateToPool(device, pool)
        torch._C._cuda_releasePool(device, pool)
