"""What an evaluation measures: compared with the measures applied by hand, and without a trace in the training."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from runs import write_images
from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig
from unpaired.data.held_out import evenly
from unpaired.data.training import TrainingData, open_training_data
from unpaired.data.values import rounded
from unpaired.evaluation.dataset import at_size
from unpaired.evaluation.metrics.pairs import MOST_DECIBELS
from unpaired.evaluation.protocol import TRAINING
from unpaired.metrics.features import Features
from unpaired.metrics.frechet import Moments, frechet_distance
from unpaired.metrics.kernel import kernel_distance
from unpaired.metrics.sliced import Patches, sliced_wasserstein
from unpaired.networks import CoupledGenerator, CoupledGeneratorConfig, LatentSearch, LatentSearchConfig
from unpaired.training import evaluation
from unpaired.training.evaluation import HeldOut

CPU = torch.device("cpu")
COUNTS = {"trainA": 2, "trainB": 2, "testA": 5, "testB": 5}


class Shifted(nn.Module):
    """Adds a constant, in evaluation mode alone; counts its images."""

    size_multiple = minimum_size = 1

    search = None

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift, self.seen = shift, 0

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen += len(images)
        return images + self.shift


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), COUNTS)


def _open(root: Path, *, paired: bool = False, **settings: Any) -> TrainingData:
    sizes = {} if settings else {"crop_size": 16, "load_size": 18}
    return open_training_data(DataConfig(root=str(root), **sizes, **settings), paired=paired)


def _tensor(image: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1))[None] / 127.5 - 1


def test_the_distance_is_that_of_all_held_out_images(images: Path) -> None:
    data = _open(images)
    found = HeldOut(data, 50, CPU).measure({"a2b": Shifted(0.25)}).figures
    assert found.keys() == {"swd_a2b", "colour_a2b", "structure_edges_a2b"}
    real, fake = Patches(per_image=TRAINING.patches), Patches(per_image=TRAINING.patches)
    for index in range(5):
        real.add(_tensor(data.held_out_b[index]))
        fake.add(rounded(_tensor(data.held_out_a[index]) + 0.25, data.domain_b))
    wanted = sliced_wasserstein(real, fake, projections=TRAINING.projections).mean
    assert found["swd_a2b"] == pytest.approx(wanted, rel=1e-6)
    assert wanted > 1


def test_pairs_are_compared_with_what_was_wanted_and_with_what_comes_back(images: Path) -> None:
    data = _open(images, paired=True)
    there, back = Shifted(0.25), Shifted(-0.5)
    found = HeldOut(data, 50, CPU).measure({"a2b": there, "b2a": back}).figures
    l1s, psnrs, returned = [], [], []
    for index in range(5):
        x, y = _tensor(data.held_out_a[index]), _tensor(data.held_out_b[index])
        translated = ((x + 0.25).clamp(-1, 1) + 1).mul(127.5).round() / 127.5 - 1
        l1s.append((translated - y).abs().mean().item())
        psnrs.append(10 * math.log10(4 / (translated - y).square().mean().item()))
        again = ((x + 0.25 - 0.5).clamp(-1, 1) + 1).mul(127.5).round() / 127.5 - 1
        returned.append((again - x).abs().mean().item())
    assert found["l1_a2b"] == pytest.approx(np.mean(l1s), rel=1e-5)
    assert found["psnr_a2b"] == pytest.approx(np.mean(psnrs), rel=1e-5)
    assert found["reconstruction_l1_a2b"] == pytest.approx(np.mean(returned), rel=1e-5)
    names = {"swd", "colour", "l1", "psnr", "ssim", "reconstruction_l1", "structure_edges"}
    assert found.keys() == {f"{name}_{direction}" for name in names for direction in ("a2b", "b2a")}
    assert -1 <= found["ssim_a2b"] < 1
    assert (there.seen, back.seen) == (10, 10), "each translates its own five images and brings back five"


def test_identical_pairs_are_no_infinity(tmp_path: Path) -> None:
    write_images(tmp_path, {"trainA": 2, "testA": 2})
    for folder in ("train", "test"):
        shutil.copytree(tmp_path / f"{folder}A", tmp_path / f"{folder}B")
    found = HeldOut(_open(tmp_path, paired=True), 50, CPU).measure({"a2b": Shifted(0.0)}).figures
    assert found["l1_a2b"] == pytest.approx(0, abs=1e-6)
    assert found["ssim_a2b"] == pytest.approx(1)
    assert found["psnr_a2b"] == MOST_DECIBELS


def test_sixteen_bits_are_measured_with_all_their_levels(tmp_path: Path) -> None:
    """Values in a small part of their range, as cameras write them, would have four levels of eight bits left."""
    rng = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        (tmp_path / folder).mkdir()
        Image.fromarray(rng.integers(1000, 2000, (20, 20), np.uint16)).save(tmp_path / folder / "0.png")
    shutil.copy(tmp_path / "testA" / "0.png", tmp_path / "testB" / "0.png")
    found = HeldOut(_open(tmp_path), 50, CPU).measure({"a2b": Shifted(0.0), "b2a": Shifted(0.0)}).figures
    assert found["swd_a2b"] < 0.1
    assert found["reconstruction_l1_a2b"] < 1e-6


def test_fewer_images_are_spread_over_all(images: Path) -> None:
    held_out = HeldOut(_open(images), 2, CPU)
    network = Shifted(0.0)
    held_out.measure({"a2b": network})
    assert held_out.counts == {"a": 2, "b": 2}
    assert network.seen == 2
    assert evenly(5, 2) == [0, 2]


def test_an_evaluation_leaves_no_trace(images: Path) -> None:
    class Random(Shifted):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + 0.0

    network = Random(0.1).train()
    held_out = HeldOut(_open(images), 50, CPU)
    torch.manual_seed(3)
    np.random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1]
    first, again = (held_out.measure({"a2b": network}).figures for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[arg-type]
    assert network.training


def test_modes_are_restored_after_an_error(images: Path) -> None:
    class Broken(nn.Module):
        size_multiple = minimum_size = 1

        search = None

        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("broken")

    network = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        HeldOut(_open(images), 50, CPU).measure({"a2b": network})
    assert network.training


def test_translations_that_are_not_finite_have_no_figure(images: Path) -> None:
    found = HeldOut(_open(images), 50, CPU).measure({"a2b": Shifted(math.nan), "b2a": Shifted(0.0)}).figures
    assert math.isnan(found["swd_a2b"])
    assert math.isfinite(found["swd_b2a"])
    assert math.isnan(found["reconstruction_l1_b2a"])


def test_images_that_keep_their_sizes_are_resized_to_the_commonest(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = {"trainA": [(32, 24)], "trainB": [(24, 32)], "testA": [(32, 24), (20, 28), (20, 28)], "testB": [(24, 36)]}
    for folder, of_folder in sizes.items():
        (tmp_path / folder).mkdir()
        for index, size in enumerate(of_folder):
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / folder / f"{index}.png")
    data = _open(tmp_path, preprocess="none")
    assert data.size is None
    held_out = HeldOut(data, 50, CPU)
    assert held_out.shortest_side == 20
    network = Shifted(0.0)
    found = held_out.measure({"a2b": network}).figures["swd_a2b"]
    real, fake = Patches(per_image=TRAINING.patches), Patches(per_image=TRAINING.patches)
    real.add(at_size([data.held_out_b[0]], data.domain_b, (20, 28)))
    for index in range(3):
        fake.add(at_size([data.held_out_a[index]], data.domain_a, (20, 28)))
    assert found == pytest.approx(sliced_wasserstein(real, fake, projections=TRAINING.projections).mean, rel=1e-6)
    assert network.seen == 3


def test_batches_hold_no_more_pixels_than_they_may(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sizes(Shifted):
        def forward(self, images: Tensor) -> Tensor:
            batches.append(len(images))
            return super().forward(images)

    for pixels, expected in ((2 * 16 * 16, [2, 2, 1]), (1, [1] * 5)):
        batches: list[int] = []
        monkeypatch.setattr(evaluation, "TRAINING", replace(TRAINING, batch_pixels=pixels))
        HeldOut(_open(images), 50, CPU).measure({"a2b": Sizes(0.0)})
        assert batches == expected


def test_a_search_is_measured_by_what_it_generates(images: Path) -> None:
    torch.manual_seed(0)
    generators = CoupledGenerator(CoupledGeneratorConfig(width=4, latent=4), 3, 3, (16, 16))
    forth = LatentSearchConfig(source="a", size=(16, 16), generator=CoupledGeneratorConfig(width=4, latent=4))
    search = LatentSearch(forth, 3, 3, generators)
    data = _open(images)
    found = HeldOut(data, 50, CPU).measure({"a2b": search}).figures
    assert found.keys() == {"swd_a2b", "colour_a2b"}
    real, fake = Patches(per_image=TRAINING.patches), Patches(per_image=TRAINING.patches)
    fake.add(rounded(search.generate(5)[1], data.domain_b))
    for index in range(5):
        real.add(_tensor(data.held_out_b[index]))
    wanted = sliced_wasserstein(real, fake, projections=TRAINING.projections).mean
    assert found["swd_a2b"] == pytest.approx(wanted, rel=1e-6)


# ---------------------------------------------------------------------------------------------- distances of features


class Colours(Features):
    """Mean and deviation of each colour; draws random numbers, as a user's function may."""

    name, fingerprint, dim, input = "colours", "0", 6, "as they are"

    def _vectors(self, images: Tensor) -> Tensor:
        torch.rand(3)
        return torch.cat([images.mean((2, 3)), images.std((2, 3))], 1)


def test_distances_of_features_are_those_of_all_held_out_images(images: Path) -> None:
    data, colours = _open(images), Colours(CPU)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = HeldOut(data, 50, CPU, colours).measure({"a2b": Shifted(0.25)}).figures
    assert torch.equal(torch.get_rng_state(), state), "what the network draws is not taken from the training"
    assert found.keys() == {"swd_a2b", "colour_a2b", "structure_edges_a2b", "frechet_a2b", "kernel_a2b"}
    real = torch.cat([colours(_tensor(data.held_out_b[index])) for index in range(5)])
    fake = torch.cat([colours(rounded(_tensor(data.held_out_a[index]) + 0.25, data.domain_b)) for index in range(5)])
    moments = Moments(6), Moments(6)
    for of_set, rows in zip(moments, (real, fake), strict=True):
        of_set.add(rows)
    assert found["frechet_a2b"] == pytest.approx(frechet_distance(*moments), rel=1e-4)
    assert found["kernel_a2b"] == pytest.approx(kernel_distance(real, fake).value, rel=1e-4)


def test_images_that_the_features_refuse_are_refused_before_the_training(images: Path) -> None:
    class Picky(Colours):
        minimum_size = 64

    with pytest.raises(UserError, match="at least 64 x 64 pixels"):
        HeldOut(_open(images), 50, CPU, Picky(CPU))


def test_distances_of_features_need_two_images(tmp_path: Path) -> None:
    write_images(tmp_path, {"trainA": 2, "trainB": 2, "testA": 3, "testB": 1})
    with pytest.raises(UserError, match="at least 2 held-out images per domain, and B has 1"):
        HeldOut(_open(tmp_path), 50, CPU, Colours(CPU))
