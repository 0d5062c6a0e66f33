"""What cannot be read, or only in part: every damaged file is refused in the same way."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from unpaired.data.decode import BadImage, decode

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (12, 10, 3), dtype=np.uint16)


def fresh(path: Path, content: bytes) -> Path:
    """Write a new file: overwriting one makes some file systems wait for the disk."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


def _encoded() -> dict[str, bytes]:
    """One small file of every family."""
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    image, files = PillowImage.fromarray(RGB), dict[str, bytes]()
    for name, mode in (
        ("PNG", "RGB"), ("JPEG", "RGB"), ("GIF", "P"), ("WEBP", "RGBA"), ("BMP", "RGB"), ("TGA", "RGB"), ("PPM", "RGB"),
        ("PCX", "RGB"), ("ICO", "RGBA"), ("JPEG2000", "RGB"), ("DDS", "RGB"), ("SGI", "RGB"), ("QOI", "RGB"),
    ):  # fmt: skip
        buffer = io.BytesIO()
        options = {"exif": exif} if name in ("PNG", "JPEG", "WEBP") else {}
        image.convert(mode).save(buffer, name, **options)
        files[name] = buffer.getvalue()
    files["deep"] = imagecodecs.png_encode(DEEP)
    stack = RNG.random((4, 12, 10)).astype(np.float32)
    for name, array, tiff_options in (
        ("plain", RGB, {"photometric": "rgb"}),
        ("tiled", RGB, {"photometric": "rgb", "tile": (16, 16), "compression": "lzw"}),
        ("stack", stack, {"photometric": "minisblack", "compression": "zlib"}),
    ):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, array, **tiff_options)
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, stack)
    files["npy"] = buffer.getvalue()
    twelve = DEEP >> 4
    files["deep jp2"] = imagecodecs.jpeg2k_encode(twelve, level=0, reversible=True)
    files["avif"] = imagecodecs.avif_encode(twelve, level=90, bitspersample=12)
    files["jxl"] = imagecodecs.jpegxl_encode(DEEP, lossless=True)
    files["hdr"] = imagecodecs.rgbe_encode(stack.reshape(4, 40, 3), header=True)
    files["jpeg-ls"] = imagecodecs.jpegls_encode(twelve)
    files["pgm"] = b"P5 10 12 4095\n" + twelve[..., 0].astype(">u2").tobytes()
    profile = imagecodecs.cms_profile(
        "rgb", whitepoint=(0.3127, 0.3290), primaries=(0.680, 0.320, 0.265, 0.690, 0.150, 0.060), gamma=2.2
    )
    image.save(buffer := io.BytesIO(), "PNG", icc_profile=profile)
    files["profile"] = buffer.getvalue()
    return files


FILES = _encoded()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(FILES[draw(st.sampled_from(sorted(FILES)))])
    if draw(st.booleans()):
        return bytes(content[: draw(st.integers(0, len(content) - 1))])
    for _ in range(draw(st.integers(1, 6))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@given(content=st.one_of(damaged(), damaged(), st.binary(max_size=200)))
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_damaged_files_raise_bad_image_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = fresh(tmp_path / "x", content)
    reason = "sound"
    try:
        image = decode(path, max_pixels=100_000)
        assert image.ndim == 3
        assert image.size > 0
    except BadImage as error:
        reason = error.reason
    assert reason.isprintable()
    assert len(reason) < 250
    assert capfd.readouterr() == ("", "")


def test_a_tiff_whose_width_is_many_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((12, 10, 3), np.uint8), photometric="rgb")
    content = bytearray(path.read_bytes())
    at = content.index(b"\x00\x01\x04\x00\x01\x00\x00\x00")  # ImageWidth: tag 256, of type LONG, one value
    content[at + 4] = 43
    with pytest.raises(BadImage, match="damaged: height or width is no single number"):
        decode(fresh(path, bytes(content)), max_pixels=100_000)


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"JPEG2000"}))
def test_a_truncated_file_never_passes_for_another_image(tmp_path: Path, name: str) -> None:
    # JPEG 2000 is layered: a file cut between layers is a coarser image, and its decoder says nothing.
    path, content = tmp_path / "x", FILES[name]
    path.write_bytes(content)
    whole = decode(path)
    cuts, ends = (6, 2) if name == "jpeg-ls" else (50, 16)  # each refusal of its decoder takes a quarter of a second
    for length in [*range(0, len(content), 1 + len(content) // cuts), *range(len(content) - ends, len(content))]:
        fresh(path, content[:length])
        try:
            found = decode(path)
        except BadImage:
            continue
        np.testing.assert_array_equal(found, whole)
