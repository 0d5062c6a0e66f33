"""A segmenter's folder: written, found, read, checked, described by `unpaired info`."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unpaired import cli
from unpaired.core.errors import UserError
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.evaluation.segmentation.config import NetworkConfig
from unpaired.evaluation.segmentation.segmenter import (
    DOCUMENT,
    WEIGHTS,
    Description,
    Network,
    Segmenter,
    build_network,
    describe_segmenter,
    read_description,
    render_segmenter,
    write_segmenter,
)
from unpaired.models.folder import DamagedError, read_tensors, write_folder
from unpaired.networks.fcn import Fcn8s, FcnConfig
from unpaired.networks.segmentation_unet import SegmentationUnet, SegmentationUnetConfig

LABELS = Labels(kind="index", palette=((10, 0, 0), (0, 20, 0), (0, 0, 30)), names=("sky", "road", "tree"), void=(9,))
FCN = FcnConfig(width=8, fc_width=6)
UNET = SegmentationUnetConfig(width=2)
SCORES = {"photos": 233, "from": "test", "pixel_accuracy": 0.8, "class_accuracy": 0.5, "class_iou": 0.4}


def described(labels: Labels = LABELS, network: NetworkConfig = FCN) -> Description:
    return Description(
        network=network,
        labels=labels,
        photos=Domain(channels=3),
        size=(32, 48),
        origin="none: every weight began at random",
        training={"pairs": 367, "images_seen": 1200},
        held_out=SCORES,
    )


def random_network(config: NetworkConfig) -> Network:
    network = build_network(config, 3, 3)
    torch.manual_seed(0)
    # Scores that begin at zero, or small beside their biases, hide everything behind them.
    fcn = isinstance(network, Fcn8s)
    for layer in (network.score, network.score_pool3, network.score_pool4) if fcn else (network.last,):
        torch.nn.init.normal_(layer.weight, std=1.0 if fcn else 100.0)
    return network.eval()


@pytest.fixture
def network() -> Fcn8s:
    made = random_network(FCN)
    assert isinstance(made, Fcn8s)
    return made


@pytest.mark.parametrize(
    ("config", "summary"),
    [(FCN, "FCN-8s (fc6 and fc7 of 6) trained on 367 photos"), (UNET, "U-Net (width 2) trained on 367 photos")],
    ids=["fcn8s", "unet"],
)
def test_what_was_written_is_what_is_read(config: NetworkConfig, summary: str, tmp_path: Path) -> None:
    network = random_network(config)
    fingerprint = write_segmenter(tmp_path / "segmenter", network, described(network=config))
    segmenter = Segmenter.load(tmp_path / "segmenter", device="cpu")
    assert segmenter.description == described(network=config)
    assert segmenter.fingerprint == fingerprint
    assert (segmenter.size, segmenter.classes) == ((32, 48), 3)
    photos = np.random.default_rng(0).uniform(-1, 1, (11, 3, 32, 48)).astype(np.float32)
    found = segmenter(photos)
    assert found.shape == (11, 32, 48)
    assert found.dtype == np.uint8
    with torch.no_grad():
        expected = network(torch.from_numpy(photos)).argmax(1).numpy()
    assert (found == expected).mean() > 0.99, "batches and memory layout change roundings only"
    assert len(np.unique(found)) > 1
    assert summary in segmenter.summary
    assert "of 3 classes at 32 x 48 for 1,200 images; weights: none" in segmenter.summary


@pytest.mark.parametrize("size", [(32, 32), (17, 23), (1, 1)])
def test_the_unet_keeps_any_size(size: tuple[int, int]) -> None:
    network = SegmentationUnet(UNET, 3, 5).eval()
    assert network(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


def test_the_first_weights_follow_from_the_seed_and_disturb_no_other_random_numbers() -> None:
    before = torch.get_rng_state()
    one, same, other = (build_network(UNET, 3, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [network.state_dict()["first.0.weight"] for network in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_folders_of_earlier_versions_are_read(network: Fcn8s, tmp_path: Path) -> None:
    """An FCN-8s that names no family, and the U-Net that a comparison kept in a form of its own."""
    write_segmenter(tmp_path / "fcn", network, described())
    document = json.loads((tmp_path / "fcn" / DOCUMENT).read_text())
    del document["network"]["family"]
    write_folder(tmp_path / "fcn", {WEIGHTS: network.state_dict()}, {DOCUMENT: document})
    assert Segmenter.load(tmp_path / "fcn").description == described()

    unet = random_network(UNET)
    earlier = {
        "settings": {"images": 200, "width": 2, "batch_size": 4, "learning_rate": 0.01, "seed": 0},
        "photos": "b",
        "channels": 3,
        "classes": 3,
        "training_pairs": 6,
        "size": [32, 48],
        "void": [9],
        "palette": [[10, 0, 0], [0, 20, 0], [0, 0, 30]],
        "versions": {"unpaired": "0.1.0"},
        "fingerprint": "as it was",
    }
    write_folder(tmp_path / "segmenter", {WEIGHTS: unet.state_dict()}, {DOCUMENT: earlier})
    segmenter = Segmenter.load(tmp_path / "segmenter", device="cpu")
    assert segmenter.fingerprint == "as it was"
    assert "U-Net (width 2) trained on 6 photos of 3 classes at 32 x 48 for 200 images" in segmenter.summary
    segmenter.require_fitting(LABELS, 3)
    photo = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        expected = unet(photo).argmax(1).numpy()
    np.testing.assert_array_equal(segmenter(photo), expected)
    del earlier["size"], earlier["palette"]
    write_folder(tmp_path / "segmenter", {WEIGHTS: unet.state_dict()}, {DOCUMENT: earlier})
    assert read_description(tmp_path / "segmenter", {"size": [32, 48]}).size == (32, 48)


def test_its_fingerprint_says_what_it_is_and_of_which_weights(network: Fcn8s, tmp_path: Path) -> None:
    first = write_segmenter(tmp_path / "a", network, described())
    assert write_segmenter(tmp_path / "b", network, described()) == first
    renamed = Labels(kind="index", palette=LABELS.palette, names=("sky", "road", "bush"), void=(9,))
    assert write_segmenter(tmp_path / "b", network, described(renamed)) != first
    assert network.score.bias is not None
    torch.nn.init.constant_(network.score.bias, 1e-3)
    assert write_segmenter(tmp_path / "b", network, described()) != first


def test_the_best_of_a_training_is_found(network: Fcn8s, tmp_path: Path) -> None:
    write_segmenter(tmp_path / "run" / "best", network, described())
    assert Segmenter.load(tmp_path / "run").size == (32, 48)
    with pytest.raises(UserError, match=r"there is no segmenter at .*nowhere\. .*unpaired segment train"):
        Segmenter.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"is not a segmenter: it holds neither segmenter\.json"):
        Segmenter.load(tmp_path)


def test_damage_is_told(network: Fcn8s, tmp_path: Path) -> None:
    write_segmenter(tmp_path / "whole", network, described())
    for name in ("segmenter.safetensors", DOCUMENT):
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        content = (tmp_path / name / name).read_bytes()
        (tmp_path / name / name).write_bytes(content[:-1])
        with pytest.raises(DamagedError, match=name.replace(".", r"\.")):
            Segmenter.load(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "something"}, "does not describe a segmenter"),
        ({"version": 99}, "a newer version of unpaired"),
        ({"network": {"depth": 3}}, "not a valid description"),
        ({"network": {"width": 4, "fc_width": 6}}, "weights do not fit its description"),
        ({"network": {"family": "unet", "width": 4}}, "weights do not fit its description"),
        ({"size": [3]}, "not a valid description"),
    ],
)
def test_descriptions_of_something_else(
    network: Fcn8s, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], words: str
) -> None:
    monkeypatch.setattr("unpaired.evaluation.segmentation.segmenter.verify", lambda _: None)
    write_segmenter(tmp_path / "s", network, described())
    document = json.loads((tmp_path / "s" / DOCUMENT).read_text())
    (tmp_path / "s" / DOCUMENT).write_text(json.dumps({**document, **change}))
    with pytest.raises(UserError, match=words):
        Segmenter.load(tmp_path / "s")


def test_label_maps_of_other_classes_and_other_photos_are_refused(network: Fcn8s) -> None:
    segmenter = Segmenter(network, described(), torch.device("cpu"))
    segmenter.require_fitting(Labels(kind="index", palette=LABELS.palette, void=(9,), feed="one_hot"), 3)
    segmenter.require_fitting(Labels(kind="index", palette=((1, 1, 1), (2, 2, 2), (3, 3, 3)), void=(9,)), 3)
    for other in (
        Labels(kind="index", palette=LABELS.palette[:2], void=(9,)),
        Labels(kind="index", palette=LABELS.palette, void=(2,)),
        Labels(kind="colour", palette=(*LABELS.palette[:2], (7, 7, 7))),
    ):
        with pytest.raises(UserError, match="names 3 classes and the label maps have other ones"):
            segmenter.require_fitting(other, 3)
    with pytest.raises(UserError, match="photos of 3 channels, and these have 1"):
        segmenter.require_fitting(LABELS, 1)


def info(*tokens: str | Path, code: int = 0) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["info", *map(str, tokens)])
    assert (stopped.value.code or 0) == code


def test_info_says_what_it_is(network: Fcn8s, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_segmenter(tmp_path / "run" / "best", network, described())
    info(tmp_path / "run")
    shown = capsys.readouterr().out
    for words in ("trained on 367 photos", "sky, road, tree; void: 9", "233 held-out photos (test)", "class IoU 0.4"):
        assert words in shown
    info(tmp_path / "run" / "best", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "segmenter"
    assert (document["size"], document["held_out"]) == ([32, 48], SCORES)
    weights = tmp_path / "run" / "best" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    info(tmp_path / "run", code=2)
    assert "segmenter.safetensors has" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {}},
        {"training": {"pairs": "many", "images_seen": 3}},
        {"held_out": {"photos": "all"}},
        {"held_out": {"class_iou": [1]}},
        {"network": {"family": "unet", "width": 10**9}},
        {"network": {"family": "unet", "width": 10**30}},
        {"network": {"family": "evil:Net"}},
        {"labels": {"kind": "index", "palette": [[0, 0, 0]] * 200}},
        {"size": [10**12, 1]},
        {"photos": {"channels": 10**9}},
        {"origin": None},
        {"version": "1"},
    ],
    ids=str,
)
def test_a_forged_description_is_one_message(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_segmenter(tmp_path / "good", random_network(UNET), described(network=UNET))
    document = json.loads((tmp_path / "good" / DOCUMENT).read_text()) | changes
    weights = read_tensors(tmp_path / "good", WEIGHTS)
    write_folder(tmp_path / "forged", {WEIGHTS: weights}, {DOCUMENT: document})
    try:
        Segmenter.load(tmp_path / "forged")
        assert set(changes) == {"size"}, "which no weight depends on"
    except UserError as error:
        assert str(tmp_path / "forged") in str(error)
    with contextlib.suppress(UserError):
        render_segmenter(describe_segmenter(tmp_path / "forged"))
