"""Whole small trainings on the images that people have: grey, 16 bit, many channels, any size; then translation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import unpaired
from runs import TINY, write_images
from unpaired import Translator, UserError
from unpaired.models.folder import checkpoints_of, read_card
from unpaired.report.image_grid import INPUTS
from unpaired.report.run_log import read_metrics

Writer = Callable[[Path, np.random.Generator], None]


def _grey16(path: Path, rng: np.random.Generator) -> None:
    Image.fromarray(rng.integers(0, 65536, (20, 24), np.uint16)).save(path.with_suffix(".png"))


def _colour(path: Path, rng: np.random.Generator) -> None:
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path.with_suffix(".PNG"))


def _six_channels(path: Path, rng: np.random.Generator) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), rng.random((20, 24, 6), np.float32), photometric="minisblack")


def _hounsfield(path: Path, rng: np.random.Generator) -> None:
    np.save(path.with_suffix(".npy"), rng.integers(-1000, 2000, (20, 24), np.int16))


def _folder(root: Path, name: str, writer: Writer, count: int = 4) -> Path:
    (root / name).mkdir(parents=True)
    for index in range(count):
        writer(root / name / f"bild {index} ä", np.random.default_rng(index))
    return root / name


def _train(tmp_path: Path, **settings: Any) -> unpaired.training.run.Result:  # type: ignore[name-defined]
    places = {key: tmp_path / key for key in ("a", "b")}
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    merged = {**TINY, "training.epochs": 1, "training.decay_epochs": 0, **dotted}
    return unpaired.train(**places, out=tmp_path / "run", settings=merged)


@pytest.mark.parametrize(
    ("a", "b", "settings", "channels", "dtypes"),
    [
        (_grey16, _grey16, {}, (1, 1), ("uint16", "uint16")),
        (_grey16, _colour, {}, (1, 3), ("uint16", "uint8")),
        (_six_channels, _colour, {}, (6, 3), ("float32", "uint8")),
        (_hounsfield, _grey16, {"data__range_a": [-1000, 2000]}, (1, 1), ("int16", "uint16")),
        (_grey16, _grey16, {"data__channels_a": 3, "data__channels_b": 3}, (3, 3), ("uint16", "uint16")),
    ],
    ids=["grey 16 bit", "grey to colour", "six channels to colour", "declared range", "grey as colour"],
)
def test_channels_and_types_are_kept_from_the_files_to_the_translation(
    a: Writer,
    b: Writer,
    settings: dict[str, Any],
    channels: tuple[int, int],
    dtypes: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _folder(tmp_path, "a", a)
    _folder(tmp_path, "b", b)
    result = _train(tmp_path, **settings)
    card = read_card(result.checkpoint)
    assert (card.domains["a"].channels, card.domains["b"].channels) == channels
    assert (card.domains["a"].dtype, card.domains["b"].dtype) == dtypes
    told = " ".join(capsys.readouterr().err.split())
    stored = json.loads((result.run / "config.json").read_text())["method"]["identity_weight"]
    assert ("identity loss is off" in told) == (channels[0] != channels[1])
    assert stored == (0 if channels[0] != channels[1] else 5)
    losses = read_metrics(result.run)[-3]["losses"] if result.losses == {} else result.losses
    assert ("identity_a" in losses) == (channels[0] == channels[1])

    translator = Translator.load(result.run, "a2b")
    shape = (13, 9) if channels[0] == 1 else (13, 9, channels[0])
    low, high = (0, 1) if dtypes[0] == "float32" else (0, 200)
    image = np.random.default_rng(0).uniform(low, high, shape).astype(dtypes[0])
    assert translator(image).shape[:2] == (13, 9)


@pytest.mark.parametrize(
    ("preprocess", "sizes"),
    [("none", [(16, 20), (24, 18), (30, 33)]), ("scale_width", [(20, 20), (30, 20)]), ("crop", [(16, 40), (33, 17)])],
)
def test_every_preprocessing_trains_on_mixed_sizes(
    preprocess: str, sizes: list[tuple[int, int]], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index, (height, width) in enumerate(sizes):
            pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    sizes_in_use = {"data__load_size": 20 if preprocess == "scale_width" else None}
    if preprocess == "none":
        sizes_in_use["data__crop_size"] = 256  # the default: with another value it would be asked for in vain
    result = _train(tmp_path, data__preprocess=preprocess, **sizes_in_use)
    assert result.state == "finished"
    assert read_card(result.checkpoint).training_size == ((16, 16) if preprocess == "crop" else None)


def test_sizes_need_not_be_square(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3, "b": 3}, size=40)
    result = _train(tmp_path, data__crop_size=[16, 28], data__load_size=None)
    assert read_card(result.checkpoint).training_size == (16, 28)


def test_a_unet_and_other_objectives_train(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3, "b": 3})
    settings = {
        "method__generator": {"family": "unet", "depth": 4, "width": 4},
        "method__discriminator": {"family": "pixel", "width": 4},
        "method__objective": "wgangp",
        "method__init": {"scheme": "orthogonal"},
    }
    tiny = {name: value for name, value in TINY.items() if not name.startswith(("method.gen", "method.dis"))}
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    result = unpaired.train(
        a=tmp_path / "a", b=tmp_path / "b", out=tmp_path / "run", quiet=True, settings={**tiny, **dotted}
    )
    assert result.state == "finished"


def test_samples_warnings_and_page_are_there(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3, "b": 3})
    result = _train(tmp_path, training__tensorboard=True)
    assert len(list((result.run / "samples").glob("*.png"))) == 2
    kept = sorted((result.run / INPUTS).iterdir())  # held-out images as they are, to be tried in the playground
    assert [path.name for path in kept] == ["a-0.png", "a-1.png", "b-0.png", "b-1.png"]
    assert np.asarray(Image.open(kept[0])).shape[2] == 3
    assert "<html" in (result.run / "index.html").read_text()
    assert list((result.run / "tensorboard").iterdir())
    kinds = [record["event"] for record in read_metrics(result.run) if "event" in record]
    assert kinds[-2:] == ["checkpoint", "finished"]
    assert len(checkpoints_of(result.run)) == 1


def test_asking_for_the_impossible_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _folder(tmp_path, "a", _grey16)
    _folder(tmp_path, "b", _colour)
    with pytest.raises(UserError, match="identity_weight = 0"):
        _train(tmp_path, method__identity_weight=1.0)
    with pytest.raises(UserError, match="out is missing"):
        unpaired.train(a=tmp_path / "a", b=tmp_path / "b")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="WORLD_SIZE"):
        _train(tmp_path)
    assert not (tmp_path / "run").exists()


def test_resuming_with_a_limit_that_is_reached_already_is_an_error(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3, "b": 3})
    settings = {**TINY, "training.epochs": 1, "training.decay_epochs": 0}
    unpaired.train(a=tmp_path / "a", b=tmp_path / "b", out=tmp_path / "run", settings=settings)
    before = (tmp_path / "run" / "config.json").read_text()
    for change, named in (
        ({"training.max_images": 2}, "max_images is 2"),
        ({"training.keep_last": 1}, "epochs make 3"),
    ):
        with pytest.raises(UserError, match=f"nothing is left to train: 3 images are done.*{named}"):
            unpaired.train(resume=tmp_path / "run", settings=change)
    assert (tmp_path / "run" / "config.json").read_text() == before
    assert unpaired.train(resume=tmp_path / "run").state == "finished"
    assert unpaired.train(resume=tmp_path / "run", settings={"training.epochs": 2}).images_seen == 6


def _annotated(root: Path) -> Path:
    """Write label maps beside photos in the layout of CamVid."""
    for part, count in (("train", 4), ("test", 2)):
        for index in range(count):
            for folder, shape, high in ((f"{part}annot", (20, 24), 3), (part, (20, 24, 3), 256)):
                (root / folder).mkdir(parents=True, exist_ok=True)
                values = np.random.default_rng(index).integers(0, high, shape, np.uint8)
                Image.fromarray(values).save(root / folder / f"{index}.png")
    return root


@pytest.mark.parametrize("feed", ["colour", "one_hot"])
def test_label_maps_from_the_files_to_label_maps_again(
    tmp_path: Path, feed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _annotated(tmp_path / "data")
    labels = {"data.labels_a.kind": "index", "data.labels_a.void": [2], "data.labels_a.feed": feed}
    settings = {**TINY, "training.epochs": 1, "training.decay_epochs": 0, **labels}
    result = unpaired.train(data=root, out=tmp_path / "run", settings=settings)
    assert "label maps of 2 classes" in " ".join(capsys.readouterr().err.split())
    stored = json.loads((result.run / "config.json").read_text())["data"]["labels_a"]
    assert stored == {"kind": "index", "palette": [[255, 255, 255], [0, 85, 255]], "void": [2], "feed": feed}
    domains = read_card(result.checkpoint).domains
    assert domains["a"].labels is not None
    assert domains["a"].channels == (3 if feed == "colour" else 2)

    translated = Translator.load(result.run, "b2a")(np.zeros((13, 9, 3), np.uint8))
    assert (translated.dtype, translated.shape) == (np.uint8, (13, 9))
    assert set(np.unique(translated)) <= {0, 1}
    photo = Translator.load(result.run, "a2b")(np.array([[0, 1, 2]], np.uint8))
    assert photo.shape == (1, 3, 3)

    resumed = unpaired.train(resume=result.run, settings={"training.max_images": 6, "training.epochs": 2})
    told = " ".join(capsys.readouterr().err.split())
    assert "label maps of 2 classes" in told
    assert "found in the files" not in told, "the palette is part of the run and is not searched for again"
    assert read_card(resumed.checkpoint).domains["a"] == domains["a"]


def test_side_by_side_files_train(tmp_path: Path) -> None:
    root = write_images(tmp_path / "data", {"train": 3, "val": 2})
    settings = {**TINY, "training.epochs": 1, "training.decay_epochs": 0, "data.side_by_side": "ba"}
    result = unpaired.train(data=root, out=tmp_path / "run", settings=settings)
    assert (result.state, result.images_seen) == ("finished", 3)
    assert read_card(result.checkpoint).side_by_side == "ba", "translate notices whole files by it"
