"""Networks that users bring: programs of torch.export and Python functions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.metrics.features import open_features

NETWORKS = """
from pathlib import Path

import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, channels=3, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2), nn.Dropout(0.5))

    def forward(self, images):
        return self.body(images).mean((2, 3))


def vectors():
    return Small()


def grey():
    return Small(1)


def other_weights():
    return Small(seed=1)


def maps():
    return lambda images: torch.cat([images, images**2], 1)


def tiles():
    def network(images):
        if images.shape[2] % 14:
            raise ValueError("sides must be multiples of 14")
        return images.mean((2, 3))

    return network


def of_pixels():
    return lambda images: images[:, 0, 0, :]


def number():
    return 3


def scalar():
    return lambda images: images.mean()


def of_a_file():
    factor = float(Path("factor.txt").read_text())
    return lambda images: images[:, :, ::2].mean((2, 3)) * factor


def not_finite():
    return lambda images: images.mean((2, 3)) / 0


def fails():
    raise RuntimeError("no such checkpoint")


something = 5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a module of networks in the current folder, of its own for each test."""
    name = f"networks_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


class Pooled(nn.Module):
    """A network whose features are easily told: the mean of each channel, or the channels of every second pixel."""

    def __init__(self, maps: bool = False) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, ::2, ::2] * 2 if self.maps else images.mean((2, 3))


class Rows(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(3)


def export(network: nn.Module, path: Path, *shape: int, open_dims: dict[int, Any] | None = None) -> Path:
    program = torch.export.export(network.eval(), (torch.zeros(shape),), dynamic_shapes=(open_dims,))
    torch.export.save(program, path)
    return path


@pytest.mark.slow
def test_a_program_of_open_sizes_takes_images_as_they_are(tmp_path: Path, images: Tensor) -> None:
    dims = {0: torch.export.Dim("n"), 2: torch.export.Dim("h", min=4), 3: torch.export.Dim("w", min=4)}
    path = export(Pooled(), tmp_path / "mean.pt2", 2, 3, 32, 48, open_dims=dims)
    features = open_features(str(path))
    assert (features.name, features.dim, features.plain_fid) == ("mean.pt2", 3, False)
    assert features.input == "as they are in [-1, 1], any size"
    torch.testing.assert_close(features(images), images.mean((2, 3)))
    assert features.maps(images) is None
    assert features(images[:, :1]).shape == (3, 3)  # grey is repeated
    with pytest.raises(UserError, match=r"mean.pt2 failed on images \[3, 3, 3, 56\]"):
        features(images[:, :, :3])  # less than the program allows


def test_a_program_of_one_size_and_one_batch_gets_them(tmp_path: Path, images: Tensor) -> None:
    path = export(Pooled(maps=True), tmp_path / "maps.pt2", 2, 3, 32, 48)
    features = open_features(str(path))
    assert features.input == "in [-1, 1], resized to 32 x 48 (height x width) by antialiased bicubic, clipped"
    resized = nn.functional.interpolate(images, (32, 48), mode="bicubic", antialias=True).clamp(-1, 1)
    expected = resized[:, :, ::2, ::2] * 2
    maps = features.maps(images)
    assert maps is not None
    torch.testing.assert_close(maps, expected)  # three images through a program of two
    torch.testing.assert_close(features(images), expected.mean((2, 3)))
    same = open_features(str(export(Pooled(maps=True), tmp_path / "other.pt2", 1, 3, 32, 48)))
    assert same.fingerprint != features.fingerprint
    torch.testing.assert_close(same(images), features(images))


def test_a_grey_program_refuses_colour(tmp_path: Path, images: Tensor) -> None:
    features = open_features(str(export(Pooled(), tmp_path / "grey.pt2", 1, 1, 40, 56)))
    assert features(images[:, :1]).shape == (3, 1)
    with pytest.raises(UserError, match=r"grey.pt2 takes grey images; received colour ones"):
        features(images)


def test_programs_that_are_none_or_take_something_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no file .*nothing.pt2"):
        open_features(str(tmp_path / "nothing.pt2"))
    (tmp_path / "text.pt2").write_text("hello")
    with pytest.raises(UserError, match=r"text.pt2 cannot be read as a program of torch.export: .*torch.export.save"):
        open_features(str(tmp_path / "text.pt2"))
    with pytest.raises(
        UserError, match=r"takes 1 inputs \[\[2, 5\]\]. A program for features takes one tensor: images"
    ):
        open_features(str(export(nn.Linear(5, 4), tmp_path / "linear.pt2", 2, 5)))
    with pytest.raises(UserError, match="images of 4 channels; features are taken of images of 1 or 3"):
        open_features(str(export(Pooled(), tmp_path / "four.pt2", 1, 4, 32, 32)))
    half_open = export(Pooled(), tmp_path / "half.pt2", 1, 3, 32, 32, open_dims={3: torch.export.Dim("w")})
    with pytest.raises(UserError, match="fixes one side of its images and leaves the other open"):
        open_features(str(half_open))
    with pytest.raises(UserError, match=r"returned a tensor \[1, 3, 32\] for images .*\[N, D\], or \[N, D, h, w\]"):
        open_features(str(export(Rows(), tmp_path / "rows.pt2", 1, 3, 32, 32)))


def test_a_function_may_return_a_module_or_a_function(module: str, images: Tensor) -> None:
    features = open_features(f"{module}:vectors")
    assert (features.name, features.dim, features.gives_maps) == (f"{module}:vectors", 4, False)
    assert torch.equal(features(images), features(images))  # dropout is off
    torch.testing.assert_close(features(images)[1:2], features(images[1:2]), rtol=1e-5, atol=1e-5)
    assert not features(images).requires_grad
    maps = open_features(f"{module}:maps")
    positions = maps.maps(images)
    assert positions is not None
    torch.testing.assert_close(positions, torch.cat([images, images**2], 1))
    torch.testing.assert_close(maps(images), positions.mean((2, 3)))


def test_channels_and_sizes_are_found_by_trial(module: str, images: Tensor) -> None:
    grey = open_features(f"{module}:grey")
    assert grey.channels == 1
    with pytest.raises(UserError, match="takes grey images"):
        grey(images)
    tiles = open_features(f"{module}:tiles")
    with pytest.raises(
        UserError, match=r"failed on images \[3, 3, 40, 56\]: ValueError: sides must be multiples of 14"
    ):
        tiles(images)
    assert tiles(images[:, :, :28]).shape == (3, 3)


def test_fingerprints_follow_weights_and_source(module: str, tmp_path: Path) -> None:
    first = open_features(f"{module}:vectors").fingerprint
    assert first == open_features(f"{module}:vectors").fingerprint
    assert first != open_features(f"{module}:other_weights").fingerprint
    (tmp_path / f"{module}.py").write_text(NETWORKS + "\n")
    assert first != open_features(f"{module}:vectors").fingerprint


def test_fingerprints_follow_what_a_function_reads_elsewhere(module: str, tmp_path: Path) -> None:
    def fingerprint(factor: float) -> str:
        (tmp_path / "factor.txt").write_text(str(factor))
        return open_features(f"{module}:of_a_file").fingerprint

    assert fingerprint(2) == fingerprint(2)
    assert fingerprint(2) != fingerprint(3)


def test_features_that_would_overflow_are_refused(module: str, tmp_path: Path, images: Tensor) -> None:
    (tmp_path / "factor.txt").write_text("1e18")
    with pytest.raises(UserError, match=r"above 1e\+15 for 3 of 3 images"):
        open_features(f"{module}:of_a_file")(images)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("number", r"returned a int. It must return a torch module or a function"),
        ("scalar", r"returned a tensor \[\] for images"),
        ("fails", "failed: RuntimeError: no such checkpoint"),
        ("something", "is a int; it must be a function"),
        ("nothing", "has no nothing"),
    ],
)
def test_what_is_no_network_is_told(module: str, function: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_features(f"{module}:{function}")


def test_features_whose_length_follows_the_image_are_refused(module: str, images: Tensor) -> None:
    features = open_features(f"{module}:of_pixels")
    with pytest.raises(UserError, match=r"returned \[3, 56\] for images \[3, 3, 40, 56\]; .* D = 256 before"):
        features(images)


def test_features_that_are_not_finite_are_refused(module: str, images: Tensor) -> None:
    with pytest.raises(UserError, match=r"not finite \(NaN or infinite\) or above 1e\+15 for 3 of 3 images"):
        open_features(f"{module}:not_finite")(images)


def test_modules_that_cannot_be_imported(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("1 / 0")
    with pytest.raises(UserError, match=f"{module}.*ZeroDivisionError"):
        open_features(f"{module}:vectors")
    (tmp_path / f"{module}.py").write_text("import module_that_it_needs")
    with pytest.raises(UserError, match='no Python module "module_that_it_needs"'):
        open_features(f"{module}:vectors")


def test_modules_that_are_not_there() -> None:
    with pytest.raises(UserError, match='no Python module "module_that_is_not_here"'):
        open_features("module_that_is_not_here:network")
