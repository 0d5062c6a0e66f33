from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.decode import decode
from unpaired.data.encode import FORMATS, require_format, write_image

LOSSLESS = {".png", ".webp", ".tif", ".tiff", ".npy"}


def image_of(dtype: str, channels: int, size: tuple[int, int] = (9, 7)) -> NDArray[np.generic]:
    rng = np.random.default_rng(channels)
    if dtype == "float32":
        return rng.random((*size, channels)).astype(np.float32)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, (*size, channels), endpoint=True).astype(dtype)


@given(
    suffix=st.sampled_from(sorted(LOSSLESS)),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    channels=st.sampled_from([1, 3, 5, 13]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(
    tmp_path: Path, suffix: str, dtype: str, channels: int, size: tuple[int, int]
) -> None:
    image, path = image_of(dtype, channels, size), tmp_path / f"ü b{suffix}"
    form = FORMATS[suffix]
    if (form.dtypes and dtype not in form.dtypes) or (form.channels and channels not in form.channels):
        with pytest.raises(UserError, match="cannot hold"):
            write_image(image, path)
        return
    write_image(image, path)
    found = decode(path, channels=channels)
    if suffix == ".webp" and channels == 1:
        found = found[..., :1]  # WebP knows no grey
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("channels", [2, 4])
def test_channels_that_png_calls_alpha(tmp_path: Path, channels: int) -> None:
    for dtype in ("uint8", "uint16"):
        image = image_of(dtype, channels)
        image[..., -1] = np.iinfo(dtype).max
        write_image(image, tmp_path / "x.png")
        np.testing.assert_array_equal(decode(tmp_path / "x.png"), image[..., :-1])


def test_jpeg_is_close(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[:, None, None], 24, axis=1)
    for channels in (1, 3):
        image = np.repeat(ramp, channels, axis=2)
        write_image(image, tmp_path / "x.JPG")
        found = decode(tmp_path / "x.JPG")
        assert found.shape == image.shape
        assert np.abs(found.astype(int) - image).max() <= 4


def test_formats_that_cannot_hold_it() -> None:
    with pytest.raises(UserError, match=r"JPEG cannot hold .*uint16.*\.png, \.tif"):
        require_format(".jpg", "uint16", 3)
    with pytest.raises(UserError, match=r"PNG cannot hold images of 13 channels.*\.tif, \.tiff, \.npy"):
        require_format(".png", "uint8", 13)
    with pytest.raises(UserError, match=r'"\.pgn".*Did you mean "\.png"'):
        require_format(".pgn", "uint8", 3)


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    write_image(image_of("uint8", 3), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="No space left"):
        write_image(image_of("uint8", 1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match="cannot write"):
        write_image(image_of("uint8", 3), tmp_path / "absent/x.png")
