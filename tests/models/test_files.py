from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import torch

from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.data.decode import decode
from unpaired.data.encode import write_image
from unpaired.data.values import Domain, Image
from unpaired.models import files, pipeline
from unpaired.models.conversion import open_image
from unpaired.models.files import count_images, translate_files
from unpaired.models.translator import Translator

MakeModel = Callable[..., Path]
MakeTranslator = Callable[..., Translator]


def pixels(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def save(path: Path, *shape: int, dtype: Any = np.uint8, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(pixels(*shape, dtype=dtype, seed=seed), path)
    return path


def everything_in(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones too, with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_is_translated_with_its_structure(make_model: MakeModel, tmp_path: Path) -> None:
    translator = Translator.load(make_model(), device="cpu")
    photos, out = tmp_path / "photos", tmp_path / "out"
    sizes = [(8, 8), (13, 16), (8, 7), (16, 13), (5, 8), (1, 1), (40, 9), (7, 7), (8, 6), (16, 16)]
    for index, (height, width) in enumerate(sizes):
        folder = photos / ("" if index % 2 else "day one/ünter")
        save(folder / f"photo {index}.v2.{'png' if index % 3 else 'TIFF'}", height, width, 3, seed=index)
    save(photos / "grey.png", 12, 9, 1)
    PIL.Image.fromarray(pixels(10, 10, 4), "RGBA").save(photos / "logo.webp", lossless=True)
    done: list[tuple[int, int]] = []
    report = translate_files(
        translator, [photos], out, batch_size=3, workers=2, alpha="drop", progress=lambda *args: done.append(args)
    )
    assert (report.written, report.skipped, report.failed) == (12, 0, [])
    assert done == [(count, 12) for count in range(1, 13)]
    sources = {p.relative_to(photos).with_suffix(".png"): p for p in photos.rglob("*") if p.is_file()}
    assert {p.relative_to(out) for p in out.rglob("*") if p.is_file()} == set(sources)
    for relative, source in sources.items():
        written = decode(out / relative)
        alone = translator(decode(source))
        assert written.shape == alone.shape
        assert np.abs(written.astype(int) - alone.astype(int)).max() <= 1


@pytest.mark.parametrize(("half", "columns"), [("left", slice(0, 6)), ("right", slice(6, 12))])
def test_half_of_side_by_side_files(make_identity: MakeTranslator, tmp_path: Path, half: Any, columns: slice) -> None:
    source = save(tmp_path / "in" / "pair.png", 8, 12, 3)
    odd = save(tmp_path / "in" / "odd.png", 8, 11, 3)
    report = translate_files(make_identity(), [tmp_path / "in"], tmp_path / "out", half=half)
    np.testing.assert_array_equal(decode(tmp_path / "out" / "pair.png"), decode(source)[:, columns])
    assert [failure.path for failure in report.failed] == [odd]
    assert "odd width of 11" in report.failed[0].reason


def test_files_and_folders_together(make_identity: MakeTranslator, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    save(photos / "a.png", 8, 8, 3)
    single = save(tmp_path / "elsewhere" / "b.tif", 9, 9, 3)
    # A file that is named twice is translated once.
    report = translate_files(make_identity(), [photos, single, photos / "a.png"], out)
    assert report.written == 2
    assert set(everything_in(out)) == {"a.png", "b.png"}
    np.testing.assert_array_equal(decode(out / "b.png"), decode(single))


def test_bad_files_are_reported_and_the_rest_is_done(make_identity: MakeTranslator, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for index in range(6):
        save(photos / f"{index}.png", 8 + index, 8, 3)
    cut = photos / "2.png"
    cut.write_bytes(cut.read_bytes()[:60])
    (photos / "4.png").write_bytes(b"")
    (photos / "broken link.png").symlink_to("nowhere")
    np.save(photos / "five.npy", pixels(8, 8, 5))
    np.save(photos / "wide.npy", np.full((8, 8), 200.0))
    done: list[tuple[int, int]] = []
    report = translate_files(make_identity(), [photos], out, progress=lambda *args: done.append(args))
    assert report.written == 4
    reasons = {failure.path.name: failure.reason for failure in report.failed}
    assert list(reasons) == ["2.png", "4.png", "broken link.png", "five.npy", "wide.npy"]
    assert "empty" in reasons["4.png"]
    assert "missing" in reasons["broken link.png"]
    assert "5 channels" in reasons["five.npy"]
    assert "[0, 1]" in reasons["wide.npy"]
    assert all(reasons.values())
    assert set(everything_in(out)) == {"0.png", "1.png", "3.png", "5.png"}
    assert done[-1] == (9, 9)


def test_only_bad_files(make_identity: MakeTranslator, tmp_path: Path) -> None:
    bad = tmp_path / "notes.txt"
    bad.write_text("not an image")
    report = translate_files(make_identity(), [bad], tmp_path / "out")
    assert (report.written, len(report.failed)) == (0, 1)


def test_a_decompression_bomb_is_refused(make_identity: MakeTranslator, tmp_path: Path) -> None:
    report = translate_files(make_identity(), [save(tmp_path / "big.png", 30, 30, 3)], tmp_path / "out", max_pixels=800)
    assert "absurdly large" in report.failed[0].reason


# ---------------------------------------------------------------------------------------------------- formats, depths


@pytest.mark.parametrize(
    ("format", "bit_depth", "target", "dtype"),
    [
        ("png", None, "uint8", "uint8"),
        ("png", None, "uint16", "uint16"),
        ("png", 16, "uint8", "uint16"),
        ("PNG", 8, "uint16", "uint8"),
        ("webp", None, "uint8", "uint8"),
        ("tiff", None, "int16", "int16"),
        ("tif", 32, "uint8", "float32"),
        ("npy", None, "float32", "float32"),
        ("npy", 16, "float32", "uint16"),
    ],
)
def test_formats_and_depths(
    make_identity: MakeTranslator, tmp_path: Path, format: str, bit_depth: int | None, target: str, dtype: str
) -> None:
    source = save(tmp_path / "in.png", 9, 6, 3, dtype=np.uint16)
    changed: Any = target
    translator = make_identity(Domain(channels=3, dtype="uint16"), Domain(channels=3, dtype=changed))
    translate_files(translator, [source], tmp_path / "out", format=format, bit_depth=bit_depth)
    written = decode(tmp_path / "out" / f"in.{format.lower()}")
    assert written.dtype == dtype
    low, high = {"int16": (-32768, 32767), "float32": (0, 1), "uint8": (0, 255), "uint16": (0, 65535)}[dtype]
    fraction = (written.astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(fraction, decode(source) / 65535, atol=0.51 / 255 if dtype == "uint8" else 1e-5)


def test_jpeg(make_identity: MakeTranslator, tmp_path: Path) -> None:
    write_image(np.full((16, 16, 3), (200, 100, 50), np.uint8), tmp_path / "in.png")
    translate_files(make_identity(), [tmp_path / "in.png"], tmp_path / "out", format="jpg")
    assert np.abs(decode(tmp_path / "out" / "in.jpg").astype(int) - (200, 100, 50)).max() <= 3


def test_a_declared_range_is_written_in_its_own_type(make_identity: MakeTranslator, tmp_path: Path) -> None:
    write_image(np.array([[[0], [255]]], np.uint8), tmp_path / "in.png")
    translator = make_identity(Domain(channels=1), Domain(channels=1, dtype="int16", range=(-1000.0, 1000.0)))
    for depth, expected in ((None, [-1000, 1000]), (32, [-1000.0, 1000.0]), (8, [0, 255])):
        out = tmp_path / f"out {depth}"
        translate_files(translator, [tmp_path / "in.png"], out, format="npy", bit_depth=depth)
        np.testing.assert_array_equal(decode(out / "in.npy").ravel(), expected)


@pytest.mark.parametrize(
    ("options", "target", "message"),
    [
        ({"format": "jpg"}, Domain(channels=3, dtype="uint16"), r"JPEG cannot hold.*uint16.*bit_depth"),
        ({"bit_depth": 32, "format": "png"}, Domain(channels=3), r"PNG cannot hold.*float32.*\.tiff"),
        ({"format": "webp", "bit_depth": 16}, Domain(channels=3), "WebP cannot hold"),
        ({"format": "png"}, Domain(channels=7), "PNG cannot hold images of 7 channels"),
        ({"format": "pgn"}, Domain(channels=3), r'Did you mean "\.png"'),
        ({"bit_depth": 12}, Domain(channels=3), "bit_depth = 12.*8, 16 and 32"),
        ({"existing": "replace"}, Domain(channels=3), "fail, skip, overwrite"),
        ({"batch_size": 0}, Domain(channels=3), "batch_size"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    make_identity: MakeTranslator, tmp_path: Path, options: dict[str, Any], target: Domain, message: str
) -> None:
    source = save(tmp_path / "in" / "a.png", 8, 8, 3)
    with pytest.raises(UserError, match=message):
        translate_files(make_identity(Domain(channels=3), target), [source], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------------ what is there


def test_existing_outputs(make_identity: MakeTranslator, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a", "b", "c"):
        save(photos / f"{name}.png", 8, 8, 3, seed=ord(name))
    out.mkdir()
    (out / "b.png").write_bytes(b"mine")
    before = everything_in(out)
    with pytest.raises(UserError, match=r"b\.png exists already.*existing = skip.*existing = overwrite"):
        translate_files(make_identity(), [photos], out)
    assert everything_in(out) == before

    done: list[tuple[int, int]] = []
    report = translate_files(make_identity(), [photos], out, existing="skip", progress=lambda *args: done.append(args))
    assert (report.written, report.skipped) == (2, 1)
    assert done == [(2, 3), (3, 3)]
    assert (out / "b.png").read_bytes() == b"mine"

    with pytest.raises(UserError, match=r"a\.png and 2 more of the outputs exist already"):
        translate_files(make_identity(), [photos], out)
    report = translate_files(make_identity(), [photos], out, existing="overwrite")
    assert (report.written, report.skipped) == (3, 0)
    np.testing.assert_array_equal(decode(out / "b.png"), decode(photos / "b.png"))


def test_two_inputs_with_one_output(make_identity: MakeTranslator, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save(photos / "a.png", 8, 8, 3)
    save(photos / "a.tif", 8, 8, 3)
    save(photos / "b.jpg", 8, 8, 3)
    save(photos / "b.webp", 8, 8, 3)
    with pytest.raises(UserError, match="2 outputs would be written from more than one input") as caught:
        translate_files(make_identity(), [photos], tmp_path / "out")
    for line in (r"a.png and .*a.tif -> .*a.png", r"b.jpg and .*b.webp -> .*b.png"):  # all of them
        assert re.search(line, str(caught.value))
    other = save(tmp_path / "other" / "a.png", 8, 8, 3)
    with pytest.raises(UserError, match="1 output would be written from more than one input"):
        translate_files(make_identity(), [photos / "a.png", other], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = translate_files(make_identity(), [photos], tmp_path / "out", name="{direction}_{stem}_{ext}")
    assert report.written == 4
    assert set(everything_in(tmp_path / "out")) == {f"a2b_{n}.png" for n in ("a_png", "a_tif", "b_jpg", "b_webp")}


@pytest.mark.parametrize(
    "name", ["", "a/{stem}", "{stem", "{name}", "{stem.__class__}", "{stem!r}", "{stem:>9}", "{}", "..\\{stem}"]
)
def test_names_are_made_of_what_is_allowed(make_identity: MakeTranslator, tmp_path: Path, name: str) -> None:
    source = save(tmp_path / "a.png", 8, 8, 3)
    with pytest.raises(UserError, match=r"\{stem\}, \{ext\}, \{direction\}"):
        translate_files(make_identity(), [source], tmp_path / "out", name=name)
    assert not (tmp_path / "out").exists()


def test_names_that_are_too_long(make_identity: MakeTranslator, tmp_path: Path) -> None:
    longest = save(tmp_path / f"{'ä' * 125}.png", 8, 8, 3)
    assert translate_files(make_identity(), [longest], tmp_path / "out").written == 1
    with pytest.raises(UserError, match="more than 255 bytes"):
        translate_files(make_identity(), [longest], tmp_path / "out", name="{stem}_{ext}")


@pytest.mark.parametrize("existing", ["fail", "skip", "overwrite"])
def test_inputs_are_never_replaced(make_identity: MakeTranslator, tmp_path: Path, existing: files.Existing) -> None:
    photos = tmp_path / "photos"
    save(photos / "a.png", 8, 8, 3)
    linked = tmp_path / "linked"
    linked.symlink_to(photos)
    before = everything_in(photos)
    for out in (photos, linked):
        with pytest.raises(UserError, match="is an input and would be replaced"):
            translate_files(make_identity(), [photos / "a.png"], out, existing=existing)
        with pytest.raises(UserError, match="lies in a folder of images"):
            translate_files(make_identity(), [photos], out, existing=existing)
    assert everything_in(photos) == before


def test_translations_are_never_placed_among_inputs(make_identity: MakeTranslator, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save(photos / "a.png", 8, 8, 3)
    with pytest.raises(UserError, match="lies in a folder of images"):
        translate_files(make_identity(), [photos], photos / "out")
    assert set(everything_in(photos)) == {"a.png"}


def test_nothing_to_translate(make_identity: MakeTranslator, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to translate"):
        translate_files(make_identity(), [], tmp_path / "out")
    with pytest.raises(UserError, match=r"no file or folder at .*missing"):
        translate_files(make_identity(), [tmp_path / "missing"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        translate_files(make_identity(), [tmp_path / "empty"], tmp_path / "out")
    file = save(tmp_path / "a.png", 8, 8, 3)
    with pytest.raises(UserError, match=r"out = .* is a file"):
        translate_files(make_identity(), [file], file)


# --------------------------------------------------------------------------------------------------------------- alpha


def _sprite(path: Path) -> Any:
    """Write an image whose alpha has all values, and return it."""
    image = pixels(16, 16, 4)
    image[..., 3] = np.arange(256).reshape(16, 16)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image, "RGBA").save(path)
    return image


@pytest.mark.parametrize("format", ["png", "webp", "tiff"])
def test_alpha_is_kept_beside_the_translation(make_identity: MakeTranslator, tmp_path: Path, format: str) -> None:
    image = _sprite(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "opaque.png", 8, 8, 3)
    over_white = decode(tmp_path / "in" / "a.png")
    translate_files(make_identity(), [tmp_path / "in"], tmp_path / "out", format=format)
    with PIL.Image.open(tmp_path / "out" / f"a.{format}") as written:
        assert written.mode == "RGBA"
        found = np.asarray(written)
    np.testing.assert_array_equal(found[..., 3], image[..., 3])
    np.testing.assert_array_equal(found[..., :3], over_white, "translated is what the network sees: over white")
    with PIL.Image.open(tmp_path / "out" / f"opaque.{format}") as written:
        assert written.mode == "RGB"

    translate_files(make_identity(), [tmp_path / "in"], tmp_path / "dropped", format=format, alpha="drop")
    with PIL.Image.open(tmp_path / "dropped" / f"a.{format}") as written:
        assert written.mode == "RGB"


def test_alpha_of_other_types_and_halves(make_identity: MakeTranslator, tmp_path: Path) -> None:
    image = _sprite(tmp_path / "a.png")
    translate_files(make_identity(), [tmp_path / "a.png"], tmp_path / "deep", bit_depth=16, half="right")
    found = imagecodecs.png_decode((tmp_path / "deep" / "a.png").read_bytes())
    assert (found.shape, found.dtype) == ((16, 8, 4), np.uint16)
    np.testing.assert_array_equal(found[..., 3], image[:, 8:, 3].astype(int) * 257)
    grey = make_identity(Domain(channels=3), Domain(channels=1))
    translate_files(grey, [tmp_path / "a.png"], tmp_path / "grey")
    with PIL.Image.open(tmp_path / "grey" / "a.png") as written:
        assert written.mode == "LA"


def test_alpha_where_there_is_no_place_for_it(make_identity: MakeTranslator, tmp_path: Path) -> None:
    _sprite(tmp_path / "a.png")
    assert translate_files(make_identity(), [tmp_path / "a.png"], tmp_path / "out", format="jpg").written == 1
    with pytest.raises(UserError, match=r"alpha = keep: JPEG files hold no alpha.*\.png"):
        translate_files(make_identity(), [tmp_path / "a.png"], tmp_path / "other", format="jpg", alpha="keep")
    with pytest.raises(UserError, match="keep, drop"):
        translate_files(make_identity(), [tmp_path / "a.png"], tmp_path / "other", alpha="premultiply")  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------------- halves


@pytest.mark.parametrize(("direction", "order", "half"), [("a2b", "ab", "left"), ("b2a", "ab", "right")])
def test_whole_files_for_a_model_of_halves_are_noticed(
    make_identity: MakeTranslator, tmp_path: Path, direction: str, order: Any, half: Any
) -> None:
    translator = make_identity()
    translator.card, translator.direction = replace(translator.card, side_by_side=order), direction
    for name, width in (("one", 16), ("two", 32), ("three", 32)):
        save(tmp_path / "in" / f"{name}.png", 16, width, 3)
    (notice,) = translate_files(translator, [tmp_path / "in"], tmp_path / "out").notices
    assert notice.startswith("2 images are twice as wide as high")
    assert f"half = {half}" in notice
    assert translate_files(translator, [tmp_path / "in"], tmp_path / "halves", half=half).notices == []
    assert translate_files(make_identity(), [tmp_path / "in"], tmp_path / "others").notices == []


# -------------------------------------------------------------------------------------------- memory, faults, stopping


def test_a_result_that_is_not_finite_is_one_images_failure(make_identity: MakeTranslator, tmp_path: Path) -> None:
    """A black picture that nobody notices is what it must not be."""
    for index in range(4):
        write_image(np.full((8, 8, 3), 50 * index, np.uint8), tmp_path / "photos" / f"{index}.png")
    translator = make_identity()
    forward = translator.network.forward
    translator.network.forward = lambda image: forward(image).log()  # type: ignore[method-assign]  # NaN below 0
    report = translate_files(translator, [tmp_path / "photos"], tmp_path / "out")
    assert [failure.path.name for failure in report.failed] == ["0.png", "1.png", "2.png"]
    assert all("not a finite number" in failure.reason for failure in report.failed)
    assert set(everything_in(tmp_path / "out")) == {"3.png"}


def test_the_number_of_images_in_memory_does_not_grow_with_the_number_of_files(
    make_identity: MakeTranslator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(120):
        save(tmp_path / "photos" / f"{index}.png", 8 + 4 * (index % 12), 8 + 4 * (index // 12), 1)  # no two alike
    lock, alive, peak = threading.Lock(), 0, 0

    def counted_read(path: Path, source: Domain, **options: Any) -> tuple[Image, Image | None]:
        nonlocal alive, peak
        with lock:
            alive += 1
            peak = max(peak, alive)
        return open_image(path, source, **options)

    def counted_write(path: Path, content: bytes, *, durable: bool) -> None:
        nonlocal alive
        write_atomic(path, content, durable=durable)
        with lock:
            alive -= 1

    monkeypatch.setattr(pipeline, "open_image", counted_read)
    monkeypatch.setattr(files, "write_atomic", counted_write)
    grey = Domain(channels=1)
    translate_files(make_identity(grey, grey), [tmp_path / "photos"], tmp_path / "out", batch_size=2, workers=2)
    assert alive == 0
    assert 2 <= peak <= 50  # a window of 16 batches of two images, and the threads' own


def test_a_full_disk_stops_with_what_was_written_whole(
    make_identity: MakeTranslator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(20):
        save(tmp_path / "photos" / f"{index:02}.png", 8, 8, 3)
    replace, calls = os.replace, 0

    def full(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"disk is full.*3 translations.*existing = skip"):
        translate_files(make_identity(), [tmp_path / "photos"], tmp_path / "out", workers=1, batch_size=2)
    left = everything_in(tmp_path / "out")
    assert len(left) == 3
    assert all(name.endswith(".png") and not name.startswith(".") for name in left)


def test_an_output_that_cannot_be_written_does_not_stop_the_rest(make_identity: MakeTranslator, tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a" / "1.png", 8, 8, 3)
    save(tmp_path / "photos" / "2.png", 8, 8, 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file where a folder should be")
    report = translate_files(make_identity(), [tmp_path / "photos"], tmp_path / "out")
    assert report.written == 1
    assert [failure.path.name for failure in report.failed] == ["1.png"]


def test_too_little_memory_is_one_images_failure(
    make_identity: MakeTranslator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, width in enumerate((8, 8, 40, 8)):
        save(tmp_path / "photos" / f"{index}.png", 8, width, 3)
    translator = make_identity()
    forward = translator.network.forward

    def scarce(image: torch.Tensor) -> torch.Tensor:
        if image.numel() > 3 * 8 * 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(image)

    monkeypatch.setattr(translator.network, "forward", scarce)
    report = translate_files(translator, [tmp_path / "photos"], tmp_path / "out")
    assert report.written == 3  # the batch of three did not fit, each by itself did
    assert [failure.path.name for failure in report.failed] == ["2.png"]
    assert "not enough memory" in report.failed[0].reason


def test_an_interruption_leaves_whole_files_and_the_work_goes_on(make_identity: MakeTranslator, tmp_path: Path) -> None:
    for index in range(12):
        save(tmp_path / "photos" / f"{index:02}.png", 8, 8, 3, seed=index)

    def interrupt(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate_files(
            make_identity(), [tmp_path / "photos"], tmp_path / "out", batch_size=2, workers=1, progress=interrupt
        )
    for name in everything_in(tmp_path / "out"):
        np.testing.assert_array_equal(decode(tmp_path / "out" / name), decode(tmp_path / "photos" / name))
    report = translate_files(make_identity(), [tmp_path / "photos"], tmp_path / "out", existing="skip")
    assert report.skipped >= 5
    assert report.written + report.skipped == 12
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "encode"))]


def test_real_photos(make_model: MakeModel, tmp_path: Path, shared: Path) -> None:
    photos = sorted((shared / "data" / "horse2zebra" / "testA").iterdir())[:4]
    translator = Translator.load(make_model(), device="cpu")
    assert translate_files(translator, photos, tmp_path / "out").written == 4
    for photo in photos:
        with PIL.Image.open(photo) as image:
            alone = np.asarray(translator(image)).astype(int)
        assert np.abs(decode(tmp_path / "out" / f"{photo.stem}.png").astype(int) - alone).max() <= 1


def test_images_are_counted_as_they_would_be_translated(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in ("one.png", "deeper/two.png", "out/three.png"):
        save(photos / name, 4, 4, 3)
    (photos / "notes.txt").write_text("no image")
    assert count_images([photos, photos / "one.png"]) == 4
    with pytest.raises(UserError, match="no file or folder"):
        count_images([tmp_path / "nowhere"])


def test_metadata_are_kept_where_they_are_asked_for(make_identity: MakeTranslator, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112], exif[315] = 6, "Somebody"
    PIL.Image.fromarray(pixels(8, 12, 3)).save(tmp_path / "x.jpg", exif=exif, dpi=(300, 300))
    for name, keep in (("with", True), ("without", False)):
        report = translate_files(make_identity(), tmp_path / "x.jpg", tmp_path / name, keep_metadata=keep)
        assert report.written == 1
    with PIL.Image.open(tmp_path / "with/x.png") as made:
        assert made.size == (8, 12)
        assert made.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert dict(made.getexif()) == {315: "Somebody"}
    with PIL.Image.open(tmp_path / "without/x.png") as made:
        assert not made.getexif()
        assert "dpi" not in made.info


def test_what_reading_did_is_told(make_identity: MakeTranslator, tmp_path: Path) -> None:
    profile = imagecodecs.cms_profile(
        "rgb", whitepoint=(0.3127, 0.3290), primaries=(0.680, 0.320, 0.265, 0.690, 0.150, 0.060), gamma=2.2
    )
    PIL.Image.fromarray(pixels(8, 8, 3)).save(tmp_path / "a.png", icc_profile=profile)
    frames = [PIL.Image.fromarray(pixels(8, 8, 3, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "b.png", save_all=True, append_images=frames[1:])
    report = translate_files(make_identity(), tmp_path, tmp_path.with_name("told"))
    assert report.written == 2
    assert any("1 image with another colour profile" in notice for notice in report.notices)
    assert any("1 PNG file with several images" in notice for notice in report.notices)
