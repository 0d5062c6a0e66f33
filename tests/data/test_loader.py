from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.data import loader as loader_file
from unpaired.data.batching import ToHost
from unpaired.data.config import DataConfig
from unpaired.data.encode import write_image
from unpaired.data.loader import UnpairedLoader
from unpaired.data.order import Unaligned
from unpaired.data.source import ImageSource
from unpaired.data.training import TrainingData, open_training_data
from unpaired.data.transforms import crop_and_flip
from unpaired.data.values import Image, to_signed

NUM_A, NUM_B = 5, 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for folder, count, channels in (("trainA", NUM_A, 3), ("trainB", NUM_B, 1)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            image = rng.integers(0, 256, (30, 26, channels), dtype=np.uint8)
            write_image(image, tmp_path / folder / f"{number}.png")
    return tmp_path


@pytest.fixture
def data(root: Path) -> TrainingData:
    return open_training_data(DataConfig(root=str(root), crop_size=(16, 12)))


def take(data: TrainingData, count: int, **options: int) -> list[tuple[Tensor, Tensor]]:
    with UnpairedLoader(data, **{"batch_size": 1, "seed": 7, **options}) as loader:
        return list(islice(loader, count))


def equal(one: list[tuple[Tensor, Tensor]], two: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(one, two, strict=True)
    return all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in pairs)


def test_batches_are_what_the_sampler_says(data: TrainingData) -> None:
    batches = take(data, 8, batch_size=3)
    sampler = Unaligned(NUM_A, NUM_B, 7)
    for number, (x, y) in enumerate(batches):
        assert x.shape == (3, 3, 16, 12)
        assert y.shape == (3, 1, 16, 12)
        assert x.dtype == y.dtype == torch.float32
        for row in range(3):
            sample = sampler.sample(3 * number + row)
            a = to_signed(crop_and_flip(data.a[sample.index_a], (16, 12), sample.u_a)).transpose(2, 0, 1)
            b = to_signed(crop_and_flip(data.b[sample.index_b], (16, 12), sample.u_b)).transpose(2, 0, 1)
            np.testing.assert_array_equal(x[row].numpy(), a)
            np.testing.assert_array_equal(y[row].numpy(), b)


def test_the_order_does_not_depend_on_threads(data: TrainingData) -> None:
    one = take(data, 30, workers=1, prefetch=1)
    assert equal(one, take(data, 30, workers=7, prefetch=20))
    assert not equal(one, take(data, 30, seed=8))


def test_resuming_anywhere_goes_on_exactly(data: TrainingData) -> None:
    whole = take(data, 20, batch_size=3)
    for batches in (1, 5, 6):
        loader = UnpairedLoader(data, batch_size=3, seed=7, start_images=3 * batches)
        assert loader.images_seen == 3 * batches
        assert equal(list(islice(loader, 20 - batches)), whole[batches:])
        assert loader.images_seen == 60
        loader.close()


@pytest.mark.parametrize("start", [0, 8])
def test_ranks_share_one_batch(data: TrainingData, start: int) -> None:
    whole = take(data, 10, batch_size=4, start_images=start)
    parts = [take(data, 10, batch_size=2, rank=rank, world_size=2, start_images=start) for rank in range(2)]
    joined = [(torch.cat([x0, x1]), torch.cat([y0, y1])) for (x0, y0), (x1, y1) in zip(parts[0], parts[1], strict=True)]
    assert equal(whole, joined)
    with UnpairedLoader(data, batch_size=2, seed=7, rank=1, world_size=2) as loader:
        next(loader)
        assert loader.images_seen == 4
        assert loader.epoch_images == NUM_B


def test_images_of_their_own_sizes_come_one_by_one(tmp_path: Path) -> None:
    for folder, sizes in (("trainA", [(20, 24), (32, 28)]), ("trainB", [(16, 16)])):
        (tmp_path / folder).mkdir()
        for number, size in enumerate(sizes):
            write_image(np.zeros((*size, 3), np.uint8), tmp_path / folder / f"{number}.png")
    data = open_training_data(DataConfig(root=str(tmp_path), preprocess="none"))
    shapes = {tuple(x.shape) for x, _ in take(data, 6)}
    assert shapes == {(1, 3, 20, 24), (1, 3, 32, 28)}
    with pytest.raises(UserError, match="images of one size"):
        UnpairedLoader(data, batch_size=2, seed=0)


def loader_threads() -> int:
    return sum(thread.is_alive() and "_prepare" in thread.name for thread in threading.enumerate())


class TestThreads:
    def test_an_image_that_vanishes_is_named(self, root: Path) -> None:
        data = open_training_data(DataConfig(root=str(root), crop_size=16, cache="none"))
        (root / "trainA/3.png").unlink()
        loader = UnpairedLoader(data, batch_size=1, seed=7)
        with pytest.raises(UserError, match=r"trainA/3\.png.*missing"):
            list(islice(loader, 20))
        first = next(k for k in range(20) if Unaligned(NUM_A, NUM_B, 7).sample(k).index_a == 3)
        assert loader.images_seen == first, "everything before the error is handed out"
        assert loader_threads() == 0
        with pytest.raises(RuntimeError, match="closed"):
            next(loader)

    def test_an_image_that_changes_is_named(self, root: Path) -> None:
        data = open_training_data(DataConfig(root=str(root), crop_size=16, cache="none"))
        write_image(np.zeros((40, 40, 3), np.uint8), root / "trainA/0.png")
        with pytest.raises(UserError, match=r"trainA/0\.png.*has changed"):
            take(data, 20)

    def test_closing_ends_the_threads_at_once(self, data: TrainingData) -> None:
        loader = UnpairedLoader(data, batch_size=1, seed=0, workers=4)
        next(loader)
        assert loader_threads() == 4
        loader.close()
        loader.close()
        assert loader_threads() == 0

    def test_a_dropped_loader_ends_its_threads(self, data: TrainingData) -> None:
        loader = UnpairedLoader(data, batch_size=1, seed=0, workers=2)
        next(loader)
        gone = weakref.ref(loader)
        del loader
        gc.collect()
        assert gone() is None
        assert loader_threads() == 0

    def test_an_open_loader_does_not_keep_the_process_alive(self, root: Path) -> None:
        program = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from unpaired.data.config import DataConfig\n"
            "from unpaired.data.training import open_training_data\n"
            "from unpaired.data.loader import UnpairedLoader\n"
            "loader = UnpairedLoader(open_training_data(DataConfig(root=sys.argv[2])), batch_size=1, seed=0)\n"
            "next(loader); print('done')\n"
        )
        source = Path(__file__).resolve().parents[2] / "src"
        command = [sys.executable, "-c", program, str(source), str(root)]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "done\n", "")

    def test_no_more_is_prepared_than_asked_for(self, data: TrainingData) -> None:
        loader = UnpairedLoader(data, batch_size=1, seed=0, workers=2, prefetch=3)
        until(lambda: len(loader._work.ready) == 3)
        for _ in range(50):
            next(loader)
        until(lambda: len(loader._work.ready) == 3)
        assert loader._work.begun == 53
        assert loader.waiting_seconds >= 0
        loader.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TwoAhead(ToHost):
    """A delivery that works as one to a GPU does, as far as order goes."""

    ahead = 2

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.sent = self.received = 0
        self.most = 0

    def send(self, prepared: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.sent += 1
        self.most = max(self.most, self.sent - self.received)
        return super().send(prepared)

    def receive(self, sent: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.received += 1
        return super().receive(sent)


class TestSendingAhead:
    @pytest.fixture
    def delivery(self, monkeypatch: pytest.MonkeyPatch) -> TwoAhead:
        delivery = TwoAhead()
        monkeypatch.setattr(loader_file, "delivery_to", lambda device: delivery)
        return delivery

    def test_batches_and_count_are_the_same(
        self, data: TrainingData, delivery: TwoAhead, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with UnpairedLoader(data, batch_size=3, seed=7) as loader:
            until(lambda: len(loader._work.ready) == 4)
            batches = []
            for number in range(20):
                batches.append(next(loader))
                assert loader.images_seen == 3 * (number + 1), "what is on its way has not been seen"
            assert delivery.most == 3, "one in use and two on their way"
        monkeypatch.undo()
        assert equal(batches, take(data, 20, batch_size=3))

    def test_nothing_waits_for_a_batch_that_is_not_needed_yet(self, data: TrainingData, delivery: TwoAhead) -> None:
        with UnpairedLoader(data, batch_size=1, seed=7, workers=1, prefetch=1) as loader:
            for number in range(1, 20):
                next(loader)
                assert number <= delivery.sent <= number + 2

    def test_a_batch_on_its_way_is_not_waited_for(self, data: TrainingData, delivery: TwoAhead) -> None:
        with UnpairedLoader(data, batch_size=1, seed=7) as loader:
            until(lambda: len(loader._work.ready) == 4)
            next(loader)
            waited = loader.waiting_seconds
            next(loader)
            next(loader)
            assert loader.waiting_seconds == waited

    def test_an_error_comes_in_its_place(self, root: Path, delivery: TwoAhead) -> None:
        data = open_training_data(DataConfig(root=str(root), crop_size=16, cache="none"))
        (root / "trainA/3.png").unlink()
        first = next(k for k in range(20) if Unaligned(NUM_A, NUM_B, 7).sample(k).index_a == 3)
        assert first > 0
        loader = UnpairedLoader(data, batch_size=1, seed=7, prefetch=8)
        until(lambda: first in loader._work.ready)
        for _ in range(first):
            next(loader)
        with pytest.raises(UserError, match=r"trainA/3\.png.*missing"):
            next(loader)
        assert loader.images_seen == first
        with pytest.raises(RuntimeError, match="closed"):
            next(loader)

    def test_closing_forgets_what_is_on_its_way(self, data: TrainingData, delivery: TwoAhead) -> None:
        loader = UnpairedLoader(data, batch_size=1, seed=0)
        until(lambda: len(loader._work.ready) == 4)
        next(loader)
        loader.close()
        with pytest.raises(RuntimeError, match="closed"):
            next(loader)


def test_an_unfinished_wait_is_ended_by_closing(data: TrainingData) -> None:
    """A thread that waits for a batch that never comes is let go when another thread closes the loader."""
    release = threading.Event()
    slow = replace(data, a=Blocked(data.a, release))
    loader = UnpairedLoader(slow, batch_size=1, seed=0, workers=1)
    outcome: list[str] = []

    def consume() -> None:
        try:
            next(loader)
        except RuntimeError as error:
            outcome.append(str(error))

    consumer = threading.Thread(target=consume)
    consumer.start()
    until(lambda: loader._work.begun == 1)
    time.sleep(0.05)
    closer = threading.Thread(target=loader.close)
    closer.start()
    consumer.join(10)
    assert outcome == ["the loader is closed"]
    release.set()
    closer.join(10)
    assert loader_threads() == 0
    with pytest.raises(RuntimeError, match="closed"):  # though a batch was finished after closing
        next(loader)


class Blocked:
    """A source whose images come only once an event is set."""

    def __init__(self, source: ImageSource, release: threading.Event) -> None:
        self.source, self.release = source, release

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Image:
        self.release.wait(60)
        return self.source[index]

    def name(self, index: int) -> str:
        return self.source.name(index)


def test_the_time_spent_waiting_is_counted(data: TrainingData) -> None:
    release = threading.Event()
    with UnpairedLoader(replace(data, b=Blocked(data.b, release)), batch_size=1, seed=0) as loader:
        timer = threading.Timer(0.2, release.set)
        timer.start()
        next(loader)
        assert 0.1 < loader.waiting_seconds < 60
        until(lambda: len(loader._work.ready) == 4)
        waited = loader.waiting_seconds
        next(loader)
        assert loader.waiting_seconds - waited < 0.05
