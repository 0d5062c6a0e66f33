"""Files with many images, and outputs that are like their inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unpaired.core.errors import UserError
from unpaired.data import formats
from unpaired.data.decode import decode
from unpaired.data.encode import write_image
from unpaired.data.formats import Box, Header, Output, Reader
from unpaired.data.values import Domain, Image
from unpaired.models.files import count_images, translate_files
from unpaired.models.outputs import default_format
from unpaired.models.translator import Translator

MakeTranslator = Callable[..., Translator]
GREY = Domain(channels=1)


class VolumeOutput(Output):
    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str, note: str) -> None:
        self._path, self._note, self._values = path, note, np.zeros(shape, dtype)

    def put(self, image: Image, index: int = 0, box: Box | None = None) -> None:
        self._values[index] = image[:, :, 0]

    def close(self) -> None:
        write(self._path, self._values, self._note)


class VolumeReader(Reader):
    """Reads `.volume`: a line of JSON, then the values of [N, H, W]. Writes what has one channel."""

    suffixes = containers = frozenset({".volume"})

    def probe(self, path: Path) -> Header:
        values, _ = parse(path)
        return Header(values.shape[1], values.shape[2], 1, values.dtype.name)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return self.read_frame(path, 0)

    def count(self, path: Path, axis: int = 0) -> int:
        return len(parse(path)[0])

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        values, note = parse(path)
        if note == f"damaged {index}":
            raise ValueError("a checksum is wrong")
        return values[index][:, :, None]

    def output_suffix(self, path: Path) -> str:
        return ".volume"

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        note = parse(source)[1]
        if domain.channels != 1:
            return None
        if note == "unwritable":
            raise KeyError("no such tag")
        return VolumeOutput(path, (count, *size), domain.dtype, note)


def write(path: Path, values: Image, note: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({"shape": values.shape, "dtype": values.dtype.name, "note": note})
    path.write_bytes(head.encode() + b"\n" + values.tobytes())
    return path


def parse(path: Path) -> tuple[Image, str]:
    head, _, body = path.read_bytes().partition(b"\n")
    about = json.loads(head)
    return np.frombuffer(body, about["dtype"]).reshape(about["shape"]), about["note"]


def volume(path: Path, count: int, note: str = "") -> Path:
    return write(path, np.random.default_rng(count).integers(0, 256, (count, 9, 12), np.uint8), note)


@pytest.fixture(autouse=True)
def _reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "READERS", {"volume": VolumeReader(), **formats.READERS})


@pytest.mark.parametrize("count", [1, 2, 7])
def test_one_file_of_many_images_becomes_one_like_it(make_identity: MakeTranslator, tmp_path: Path, count: int) -> None:
    source = volume(tmp_path / "in" / "a.volume", count, "scanner 3")
    done: list[tuple[int, int]] = []
    report = translate_files(
        make_identity(GREY, GREY), tmp_path / "in", tmp_path / "out", batch_size=3, progress=lambda *at: done.append(at)
    )
    values, note = parse(tmp_path / "out" / "a.volume")
    np.testing.assert_array_equal(values, parse(source)[0])
    assert note == "scanner 3"
    assert (report.written, report.failed, report.notices) == (1, [], [])
    assert done[-1] == (count, count)
    assert count_images([tmp_path / "in"]) == count


def test_a_folder_of_single_images_where_there_is_no_such_file(make_identity: MakeTranslator, tmp_path: Path) -> None:
    many, one = volume(tmp_path / "in" / "many.volume", 12), volume(tmp_path / "in" / "one.volume", 1)
    write_image(np.zeros((8, 8, 1), np.uint8), tmp_path / "in" / "one.png")  # takes the name that `one` would fall to
    report = translate_files(make_identity(GREY, Domain(channels=3)), tmp_path / "in", tmp_path / "out")
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert written == [*(f"many/{index:02}.png" for index in range(12)), "one.png", "one.volume.png"]
    np.testing.assert_array_equal(decode(tmp_path / "out" / "many" / "11.png")[:, :, 1], parse(many)[0][11])
    np.testing.assert_array_equal(decode(tmp_path / "out" / "one.volume.png")[:, :, 1], parse(one)[0][0])
    assert report.written == 3
    assert "(.volume) and are written as png" in report.notices[0]
    again = translate_files(make_identity(GREY, Domain(channels=3)), tmp_path / "in", tmp_path / "out", existing="skip")
    assert (again.written, again.skipped) == (0, 3)
    (tmp_path / "out" / "many" / "notes.txt").write_text("mine")
    redone = translate_files(
        make_identity(GREY, Domain(channels=3)), tmp_path / "in", tmp_path / "out", existing="overwrite"
    )
    assert [failure.path for failure in redone.failed] == [many]
    assert "other things" in redone.failed[0].reason
    assert (tmp_path / "out" / "many" / "notes.txt").read_text() == "mine"


def test_a_format_that_is_asked_for(make_identity: MakeTranslator, tmp_path: Path) -> None:
    source = volume(tmp_path / "a.volume", 3)
    report = translate_files(make_identity(GREY, GREY), source, tmp_path / "out", format="tiff")
    assert sorted(path.name for path in (tmp_path / "out" / "a").iterdir()) == ["0.tiff", "1.tiff", "2.tiff"]
    assert "1 file of several images is written as a folder" in report.notices[0]
    translate_files(make_identity(GREY, GREY), source, tmp_path / "own", format="volume")
    np.testing.assert_array_equal(parse(tmp_path / "own" / "a.volume")[0], parse(source)[0])
    write_image(np.zeros((8, 8, 1), np.uint8), tmp_path / "b.png")
    with pytest.raises(UserError, match="cannot be written"):
        translate_files(make_identity(GREY, GREY), [source, tmp_path / "b.png"], tmp_path / "no", format="volume")
    assert not (tmp_path / "no").exists()


def test_an_image_that_fails_makes_its_file_fail(make_identity: MakeTranslator, tmp_path: Path) -> None:
    volume(tmp_path / "in" / "bad.volume", 8, "damaged 5")
    volume(tmp_path / "in" / "closed.volume", 2, "unwritable")
    volume(tmp_path / "in" / "single.volume", 1, "unwritable")
    volume(tmp_path / "in" / "z.volume", 2)
    done: list[tuple[int, int]] = []
    report = translate_files(
        make_identity(GREY, GREY), tmp_path / "in", tmp_path / "out", batch_size=2, progress=lambda *at: done.append(at)
    )
    reasons = {failure.path.name: failure.reason for failure in report.failed}
    assert reasons["bad.volume"].startswith("image 5: damaged")
    assert "no such tag" in reasons["closed.volume"]
    assert "no such tag" in reasons["single.volume"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["z.volume"]
    assert report.written == 1
    assert done[-1] == (13, 13)


@pytest.mark.parametrize(
    ("domain", "format"),
    [
        (Domain(channels=3), "png"),
        (Domain(channels=1, dtype="uint16"), "png"),
        (Domain(channels=1, dtype="uint16", range=(0, 4095)), "png"),
        (Domain(channels=4, alpha=True), "png"),
        (Domain(channels=4), "tif"),
        (Domain(channels=2), "tif"),
        (Domain(channels=1, dtype="int16"), "tif"),
        (Domain(channels=3, dtype="float32"), "tif"),
        (Domain(channels=7), "tif"),
    ],
)
def test_the_format_holds_the_translation_and_reads_back_as_it_is(
    make_identity: MakeTranslator, tmp_path: Path, domain: Domain, format: str
) -> None:
    assert default_format(domain) == format
    image = np.random.default_rng(0).integers(1, 255, (9, 8, domain.channels)).astype(domain.dtype)
    image = image / np.float32(255) if domain.dtype == "float32" else image
    np.save(tmp_path / "a.npy", image)
    report = translate_files(make_identity(domain, domain), tmp_path / "a.npy", tmp_path / "out")
    assert report.failed == []
    translated = decode(tmp_path / "out" / f"a.{format}", alpha=domain.alpha)
    assert translated.dtype == image.dtype
    np.testing.assert_allclose(
        translated.astype(float), image.astype(float), atol=1 if image.dtype.kind != "f" else 1e-6
    )


def test_a_depth_that_keeps_calibration_and_one_that_does_not(make_identity: MakeTranslator, tmp_path: Path) -> None:
    hounsfield = Domain(channels=1, dtype="int16", range=(-1000, 1000))
    image = np.arange(-32, 32, dtype=np.int16).reshape(8, 8, 1)
    write_image(image, tmp_path / "a.tif")
    kept = translate_files(make_identity(hounsfield, hounsfield), tmp_path / "a.tif", tmp_path / "16", bit_depth=16)
    np.testing.assert_array_equal(decode(next((tmp_path / "16").iterdir())), image)
    assert kept.notices == []
    floats = translate_files(make_identity(hounsfield, hounsfield), tmp_path / "a.tif", tmp_path / "32", bit_depth=32)
    np.testing.assert_allclose(decode(next((tmp_path / "32").iterdir())), image, atol=1e-3)
    assert floats.notices == []
    told = translate_files(make_identity(hounsfield, hounsfield), tmp_path / "a.tif", tmp_path / "8", bit_depth=8)
    assert "rescaled from -1000..1000 to 0..255" in told.notices[0]


def test_bands_are_not_written_as_opacity(make_identity: MakeTranslator, tmp_path: Path) -> None:
    write_image(np.zeros((8, 8, 4), np.uint8), tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"opacity.*tiff"):
        translate_files(
            make_identity(Domain(channels=4), Domain(channels=4)), tmp_path / "a.npy", tmp_path / "out", format="png"
        )


def test_pixels_without_a_value_have_none_in_the_output(make_identity: MakeTranslator, tmp_path: Path) -> None:
    share = Domain(channels=1, dtype="float32")
    values = np.random.default_rng(0).random((3, 9, 12), np.float32)
    values[1, 2:4, 5] = np.nan
    report = translate_files(make_identity(share, share), write(tmp_path / "a.volume", values), tmp_path / "out")
    assert report.failed == []
    np.testing.assert_allclose(parse(tmp_path / "out" / "a.volume")[0], values, atol=1e-6)
