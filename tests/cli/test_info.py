from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from rich.console import Console

from scans import phantom, write_nifti, write_series
from unpaired.cli.info import describe, render
from unpaired.core.errors import UserError
from unpaired.data.encode import write_image
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.models.folder import CHECKPOINTS, ModelCard, TranslatorCard, write_model
from unpaired.networks import ResnetConfig, build_generator, describe_generator


def write_small_model(folder: Path, state: bool = False) -> Path:
    a, b = Domain(channels=3), Domain(channels=1, dtype="uint16", range=(0.0, 4095.0))
    network = build_generator(ResnetConfig(width=4, blocks=1), 3, 1)
    card = ModelCard(
        method="cyclegan",
        origin="trained by a [bold]test[/bold]",
        images_seen=12_000,
        training_size=(64, 48),
        averaged=True,
        domains={"a": a, "b": b},
        translators={"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")},
        versions={"unpaired": "0.1.0", "torch": "2.11"},
    )
    tensors = {"a2b.safetensors": network.state_dict()}
    if state:
        tensors["training.safetensors"] = {"moments": torch.zeros(1000)}
    write_model(folder, card, tensors)
    return folder


def shown(description: dict[str, Any], width: int = 80) -> str:
    json.dumps(description, allow_nan=False)  # what `--json` prints
    console = Console(file=io.StringIO(), width=width, no_color=True)
    console.print(render(description))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# ------------------------------------------------------------------------------------------------------------ models


def test_a_model(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model")
    found = describe(folder)
    assert found["kind"] == "model"
    assert found["method"] == "cyclegan"
    assert found["training_size"] == [64, 48]
    direction = found["directions"]["a2b"]
    expected = sum(p.numel() for p in build_generator(ResnetConfig(width=4, blocks=1), 3, 1).parameters())
    assert direction["parameters"] == expected
    assert (direction["in_channels"], direction["out_channels"]) == (3, 1)
    assert direction["architecture"]["family"] == "resnet"
    assert found["files"]["a2b.safetensors"] == (folder / "a2b.safetensors").stat().st_size
    assert (found["intact"], found["damage"]) == (True, None)
    assert describe(folder / "model.json") == found
    text = shown(found)
    for part in (
        "[bold]test[/bold]",
        "12,000",
        "64 x 48",
        f"{expected:,}",
        "resnet",
        "0 to 4095",
        "intact",
        "torch 2.11",
    ):
        assert part in text


def test_a_damaged_model(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model")
    weights = folder / "a2b.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    found = describe(folder)
    assert not found["intact"]
    assert "a2b.safetensors has" in found["damage"]
    assert "is damaged" in shown(found, width=400)
    (folder / "model.json").unlink()
    with pytest.raises(UserError, match=r"model\.json is missing"):
        describe(folder)


# -------------------------------------------------------------------------------------------------------------- runs

CONFIG = {
    "method": {"name": "cyclegan", "cycle_weight": 10.0},
    "data": {"root": "photos", "crop_size": 64, "load_size": None},
    "training": {"epochs": 3, "decay_epochs": 2},
}
RECORDS = [
    {"images": 100, "epoch": 1.0, "seconds": 60.0, "losses": {"cycle_a": 3.0}},
    {"event": "warning", "images": 100, "text": "translations hardly vary", "time": "2026-01-01T00:00:00"},
    {
        "images": 200,
        "epoch": 2.0,
        "seconds": 3725.0,
        "images_per_second": 3.3,
        "losses": {"cycle_a": 1.25, "gan_a2b": None},
    },
    {"event": "interrupted", "images": 200, "text": "200 of 500 images", "time": "2026-01-01T00:02:00"},
]


def make_run(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS) + '{"images": 3')
    for images in (100, 200):
        write_small_model(folder / CHECKPOINTS / f"{images:09d}", state=True)
    (folder / "samples").mkdir()
    PIL.Image.new("RGB", (4, 4)).save(folder / "samples" / "000000100.png")
    (folder / "index.html").write_text("<!doctype html>")
    return folder


def test_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    newest = run / CHECKPOINTS / "000000200" / "training.safetensors"
    newest.write_bytes(b"")
    found = describe(run)
    assert found["kind"] == "run"
    assert (found["method"], found["state"]) == ("cyclegan", "interrupted")
    assert (found["images"], found["epoch"], found["epochs"]) == (200, 2.0, 5)
    assert found["losses"] == {"cycle_a": 1.25, "gan_a2b": None}
    assert found["warnings"] == ["translations hardly vary"]
    assert [(c["images"], c["intact"]) for c in found["checkpoints"]] == [(200, False), (100, True)]
    assert found["samples"] == 1
    assert found["page"] == str(run / "index.html")
    assert found["resume"] == f"unpaired train --resume {run}"
    assert found["config"] == CONFIG
    text = shown(found, width=200)
    for part in (
        "2 of 5",
        "1:02 h",
        "cycle_a 1.25",
        "gan_a2b not finite",
        "hardly vary",
        "crop_size 64",
        "has 0 bytes",
    ):
        assert part in text
    assert "load_size" not in text


def test_a_checkpoint_of_a_run_is_a_model(tmp_path: Path) -> None:
    found = describe(make_run(tmp_path / "run") / CHECKPOINTS / "000000100")
    assert found["kind"] == "model"
    assert "training.safetensors" in found["files"]


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "not started"),
        ([{"images": 1, "losses": {}}], "unfinished"),
        ([{"event": "interrupted", "images": 1}, {"event": "resumed", "images": 1}], "unfinished"),
        ([{"event": "resumed", "images": 1}, {"event": "finished", "images": 9}], "finished"),
    ],
)
def test_the_state_of_a_run(tmp_path: Path, events: list[dict[str, Any]], state: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    found = describe(tmp_path)
    assert found["state"] == state
    assert found["resume"] is None
    assert "no checkpoint yet" in shown(found)


def test_a_run_of_another_version_is_described_as_far_as_possible(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"method": "cyclegan", "training": {"unheard_of": 1}}))
    found = describe(tmp_path)
    assert (found["method"], found["epochs"]) == ("cyclegan", None)
    shown(found)


# -------------------------------------------------------------------------------------------------------------- data


def save(path: Path, *shape: int, dtype: Any = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(np.ones(shape, dtype), path)


def test_a_data_set(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "trainA" / f"{index}.png", 8 + index, 20, 3)
    save(tmp_path / "trainA" / "grey.JPG", 8, 30, 1)
    save(tmp_path / "trainB" / "0.tif", 5, 5, 7, dtype=np.float32)
    (tmp_path / "trainB" / "bad.png").write_bytes(b"no image")
    seen: list[tuple[str, int, int]] = []
    found = describe(tmp_path, progress=lambda *args: seen.append(args))
    assert (found["kind"], set(found["folders"])) == ("data", {"train A", "train B"})
    a, b = found["folders"]["train A"], found["folders"]["train B"]
    assert (a["images"], a["channels"], a["formats"]) == (4, {"3": 3, "1": 1}, {"png": 3, "jpg": 1})
    assert (a["height"], a["width"], a["most_common_size"], a["sizes"]) == ([8, 10], [20, 30], [8, 20], 4)
    assert (b["images"], b["dtypes"], b["values"]) == (2, {"float32": 1}, [1.0, 1.0])
    assert [Path(bad["path"]).name for bad in b["unreadable"]] == ["bad.png"]
    assert ("train A", 4, 4) in seen
    text = shown(found, width=400)
    for part in ("trainA", "8 to 10", "20 to 30", "3 (3), 1 (1)", "float32", "bad.png: "):
        assert part in text


def test_any_folder_with_images(tmp_path: Path) -> None:
    save(tmp_path / "deep" / "er" / "0.png", 8, 8, 3)
    found = describe(tmp_path)
    assert (found["layout"], found["folders"]["images"]["images"]) == (None, 1)
    assert "one folder of images" in shown(found)


def test_a_folder_of_damaged_images_only(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"")
    found = describe(tmp_path)
    assert found["folders"]["images"]["height"] is None
    assert "empty" in shown(found)


# ------------------------------------------------------------------------------------------------------ single files


def test_an_image(tmp_path: Path) -> None:
    write_image(np.array([[[7], [4000]]], np.uint16), tmp_path / "scan.png")
    found = describe(tmp_path / "scan.png")
    assert (found["kind"], found["height"], found["width"], found["channels"]) == ("image", 1, 2, 1)
    assert (found["dtype"], found["lowest"], found["highest"]) == ("uint16", 7, 4000)
    assert "7 to 4000" in shown(found)


def test_what_cannot_be_described(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "net.pth").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for name, message in {
        "missing": "nothing at .*missing.*a model folder, a run",
        "notes.txt": "cannot be described.*a model folder, a run",
        "net.pth": "unpaired convert .*net.pth --out MODEL",
        "empty": "no images in the folder.*a model folder, a run",
    }.items():
        with pytest.raises(UserError, match=message):
            describe(tmp_path / name)


def test_real_images(shared: Path) -> None:
    found = describe(shared / "data" / "horse2zebra_official_outputs")
    assert found["folders"]["images"]["images"] == 60
    assert found["folders"]["images"]["unreadable"] == []


# -------------------------------------------------------------------------------------------------- pairs and labels


def test_pairs_are_counted_where_all_names_match(tmp_path: Path) -> None:
    for folder in ("trainA", "trainB"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            write_image(np.zeros((4, 4, 3), np.uint8), tmp_path / folder / f"{number}.png")
    found = describe(tmp_path)
    assert found["pairs"] == 3
    assert "pairs: 3 (all names of A and B agree)" in shown(found)
    (tmp_path / "trainB" / "2.png").rename(tmp_path / "trainB" / "other.png")
    found = describe(tmp_path)
    assert found["pairs"] is None
    assert "names of A and B agree" not in shown(found)
    said = " ".join(shown(found).split())
    assert "pairs: none by name; 2 files have no partner of the same name, such as" in said
    assert found["unmatched"].endswith('trainA/2.png"')


def test_test_images_without_partners_are_said_too(tmp_path: Path) -> None:
    for name in ("trainA/0", "trainB/0", "testA/0", "testB/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(np.zeros((4, 4, 3), np.uint8), tmp_path / f"{name}.png")
    found = describe(tmp_path)
    assert found["pairs"] is None
    assert "2 files have no partner" in found["unmatched"]


def test_a_model_of_label_maps(tmp_path: Path) -> None:
    labels = Labels(kind="index", palette=((255, 0, 0), (0, 255, 0)), names=("road", "sky"), void=(255,))
    domains = {"a": Domain(channels=3, labels=labels), "b": Domain(channels=3)}
    network = build_generator(ResnetConfig(width=4, blocks=1), 3, 3)
    translators = {"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")}
    card = ModelCard(origin="a test", domains=domains, translators=translators)
    write_model(tmp_path / "model", card, {"a2b.safetensors": network.state_dict()})
    text = " ".join(shown(describe(tmp_path / "model")).split())
    assert "domain a label maps of 2 classes, fed as colours: road, sky" in text
    assert "domain b 3 channels, uint8, values by type" in text


def test_scans(tmp_path: Path) -> None:
    for seed, (folder, patient) in enumerate((("trainA", "P1"), ("trainB", "P2"), ("testA", "P1"), ("testB", "P3"))):
        write_series(tmp_path / folder, phantom(2, 16, 16, seed), patient)
    found = describe(tmp_path)
    assert found["folders"]["train A"]["units"] == {"HU": 2}
    assert found["folders"]["train A"]["spacing"] == pytest.approx([0.7, 0.6, 2.5])
    assert found["folders"]["train A"]["groups"] == 1
    assert "P1" in found["shared_groups"]
    assert "0.7 x 0.6 x 2.5" in shown(found, 200)
    volume = describe(write_nifti(tmp_path / "x.nii.gz", phantom(40, 16, 12)))
    assert (volume["images"], volume["height"], volume["width"]) == (40, 16, 12)
    assert "spacing" in shown(volume)
    write_nifti(tmp_path / "volumes" / "y.nii", phantom(5, 16, 12))
    folder = describe(tmp_path / "volumes")["folders"]["images"]
    assert (folder["images"], folder["files"], folder["formats"]) == (5, 1, {"nii": 1})
