"""Pixels without a value: from files to batches, through training, metrics and translation, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.bad_image import BadImage
from unpaired.data.config import DataConfig
from unpaired.data.decode import decode
from unpaired.data.encode import write_image
from unpaired.data.loader import UnpairedLoader
from unpaired.data.reading import PICTURES
from unpaired.data.training import open_training_data
from unpaired.data.transforms import resize
from unpaired.methods.base import Batch, ImageShapes
from unpaired.methods.cogan import CoGAN
from unpaired.methods.cogan import Config as CoganConfig
from unpaired.methods.cut import CUT
from unpaired.methods.cut import Config as CutConfig
from unpaired.methods.cyclegan import Config, CycleGAN
from unpaired.methods.losses import counting_known, l1
from unpaired.methods.missing import leave_out_missing, share_missing
from unpaired.methods.pix2pix import Config as Pix2pixConfig
from unpaired.methods.pix2pix import Pix2pix
from unpaired.networks import PatchganConfig, ResnetConfig, UnetConfig
from unpaired.training.config import TrainingConfig
from unpaired.training.trainer import Trainer

NAN = np.float32(np.nan)


def floats(height: int, width: int, gaps: int, seed: int = 0, channels: int = 1) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    image = rng.random((height, width, channels), np.float32)
    image[rng.integers(0, height, gaps), rng.integers(0, width, gaps)] = np.nan
    return image


def test_gaps_are_nan_and_told(tmp_path: Path) -> None:
    for seed, (folder, gaps) in enumerate({"trainA": 40, "trainB": 0, "testA": 10, "testB": 0}.items()):
        for number in range(3):
            (tmp_path / folder).mkdir(exist_ok=True)
            image = floats(24, 24, gaps if number else 0, seed * 3 + number)
            write_image(image, tmp_path / folder / f"{number}.tif")
    with pytest.raises(BadImage, match="NaN"):
        decode(tmp_path / "trainA" / "1.tif")
    image, valid = PICTURES.read_valid(tmp_path / "trainA" / "1.tif")
    assert valid is not None
    np.testing.assert_array_equal(valid, ~np.isnan(image[:, :, 0]))
    data = open_training_data(DataConfig(root=str(tmp_path), preprocess="crop", crop_size=16, cache="disk"))
    assert data.has_missing
    assert [info.missing > 0 for info in next(iter(data.files.values()))] == [False, True, True]
    assert any("have no value" in notice for notice in data.notices)
    np.testing.assert_array_equal(np.isnan(data.a[1][:, :, 0]), ~valid)
    with UnpairedLoader(data, batch_size=3, seed=0) as loader:
        x, y = next(loader)
    assert x.isnan().any()
    assert not y.isnan().any()
    both = share_missing(Batch(x, y))
    assert torch.equal(both.x.isnan(), both.y.isnan())
    assert torch.equal(both.x.isnan(), x.isnan())


def test_integers_keep_their_type_in_files_and_their_range(tmp_path: Path) -> None:
    """A reader that knows nodata of integers: the values are those of the type, though images with gaps are floats."""
    from unpaired.data import formats
    from unpaired.data.formats import READERS, Header, Reader

    class NodataReader(Reader):
        suffixes = frozenset({".nodata"})

        def probe(self, path: Path) -> Header:
            shape = np.load(path).shape
            return Header(shape[0], shape[1], 1, "uint16")

        def read(self, path: Path, *, stored: bool = False) -> Any:
            with path.open("rb") as stream:
                return np.load(stream)[:, :, None]

        def valid(self, path: Path, index: int = 0, axis: int = 0) -> NDArray[np.bool_] | None:
            return np.asarray(self.read(path)[:, :, 0] != 7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "READERS", {"nodata": NodataReader(), **READERS})
        for folder in ("trainA", "trainB"):
            (tmp_path / folder).mkdir()
            for number in range(2):
                values = np.full((16, 16), 65535, np.uint16)
                values[:4] = 7 if number else 0
                with (tmp_path / folder / f"{number}.nodata").open("wb") as stream:
                    np.save(stream, values)
        data = open_training_data(DataConfig(root=str(tmp_path), preprocess="crop", crop_size=16, cache="memory"))
        assert (data.domain_a.dtype, data.domain_a.range) == ("uint16", (0, 65535))
        assert [data.a[0].dtype, data.a[1].dtype] == [np.uint16, np.float32]
        with UnpairedLoader(data, batch_size=2, seed=0) as loader:
            x, _ = next(loader)
        assert x[~x.isnan()].unique().tolist() == [-1, 1]
        assert int(x.isnan().sum()) == 64
        (tmp_path / "trainB" / "2.nodata").write_bytes((tmp_path / "trainB" / "1.nodata").read_bytes())
        with (tmp_path / "trainB" / "2.nodata").open("wb") as stream:
            np.save(stream, np.full((16, 16), 7, np.uint16))
        with pytest.raises(UserError, match="no pixel has a value"):
            open_training_data(DataConfig(root=str(tmp_path), preprocess="crop", crop_size=16))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 200))
def test_resized_gaps_stay_gaps(height: int, width: int, to_height: int, to_width: int, gaps: int) -> None:
    image = np.full((height, width, 2), 0.25, np.float32)
    rng = np.random.default_rng(gaps)
    image[rng.integers(0, height, gaps), rng.integers(0, width, gaps)] = np.nan
    resized = resize(image, (to_height, to_width))
    assert resized.dtype == np.float32
    known = resized[~np.isnan(resized)]
    np.testing.assert_allclose(known, 0.25, rtol=1e-4)  # gaps add nothing to their neighbours
    if np.isnan(image).all():
        assert np.isnan(resized).all()
    if not np.isnan(image).any():
        assert not np.isnan(resized).any()


def test_l1_is_the_mean_of_what_is_known() -> None:
    x, y = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    gap = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    gap[0, :, :2] = True
    with counting_known():
        found = l1(x.masked_fill(gap, torch.nan), y)
        assert l1(x * torch.nan, y) == 0
        assert torch.equal(l1(x, y), (x - y).abs().sum() / x.numel())
    torch.testing.assert_close(found, (x - y).abs()[~gap.expand_as(x)].mean())


SMALL = {"generator": ResnetConfig(width=4, blocks=1), "discriminator": PatchganConfig(width=4, layers=1)}
SHAPES = ImageShapes(channels_a=1, channels_b=1, size=(32, 32))


@pytest.mark.parametrize("kind", ["cyclegan", "cut", "pix2pix"])
def test_what_is_in_gaps_changes_no_weight(kind: str) -> None:
    """Trained on NaN, and on other NaN batches with the same gaps: losses are finite and networks see one fill."""
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        method: Any = {
            "cyclegan": lambda: CycleGAN(Config(**SMALL, pool_size=2), SHAPES),
            "cut": lambda: CUT(CutConfig(**SMALL, num_patches=8, nce_layers=(0, 1)), SHAPES),
            "pix2pix": lambda: Pix2pix(
                Pix2pixConfig(
                    generator=UnetConfig(width=4, depth=2, norm="batch"), discriminator=SMALL["discriminator"]
                ),
                SHAPES,
            ),
        }[kind]()
        trainer = Trainer(method, TrainingConfig(graph="off", compile="off"), torch.device("cpu"), missing=True)
        x, y = torch.rand(1, 1, 32, 32) * 2 - 1, torch.rand(1, 1, 32, 32) * 2 - 1
        x[:, :, :8] = torch.nan
        for _ in range(3):
            losses = trainer.step(iter([Batch(x, y)] * 4))
            assert all(bool(torch.isfinite(value)) for value in losses.values())
        weights.append(torch.cat([p.flatten() for p in method.parameters()]))
        fake = next(iter(method.translators().values()))(x)
        assert torch.equal(fake.isnan(), x.isnan())
        assert torch.isfinite(weights[-1]).all()
    assert torch.equal(*weights)


def test_images_of_noise_have_no_gaps() -> None:
    with torch.device("meta"):
        method = CoGAN(CoganConfig(), ImageShapes(channels_a=1, channels_b=1, size=(32, 32)))
    with pytest.raises(UserError, match="another method"):
        leave_out_missing(method)
