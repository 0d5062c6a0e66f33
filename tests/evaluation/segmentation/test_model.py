"""A segmenter's folder: written, found, read, checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from unpaired.core.errors import UserError
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.evaluation.segmentation.model import DOCUMENT, Description, Segmenter, require_classes, write_segmenter
from unpaired.models.folder import DamagedError
from unpaired.networks.fcn import Fcn8s, FcnConfig

LABELS = Labels(kind="index", palette=((10, 0, 0), (0, 20, 0), (0, 0, 30)), names=("sky", "road", "tree"), void=(9,))
NETWORK = FcnConfig(width=8, fc_width=6)


def described(labels: Labels = LABELS, network: FcnConfig = NETWORK) -> Description:
    return Description(
        network=network,
        labels=labels,
        photos=Domain(channels=3),
        size=(32, 48),
        origin="none: every weight began at random",
        training={"pairs": 367, "images_seen": 1200},
        held_out={"class_iou": 0.5},
    )


@pytest.fixture
def network() -> Fcn8s:
    torch.manual_seed(0)
    made = Fcn8s(NETWORK, 3, 3)
    for layer in (made.score, made.score_pool3, made.score_pool4):
        torch.nn.init.normal_(layer.weight)
    return made.eval()


def test_what_was_written_is_what_is_read(network: Fcn8s, tmp_path: Path) -> None:
    fingerprint = write_segmenter(tmp_path / "segmenter", network, described())
    segmenter = Segmenter.load(tmp_path / "segmenter", device="cpu")
    assert segmenter.description == described()
    assert segmenter.fingerprint == fingerprint
    assert segmenter.size == (32, 48)
    photos = np.random.default_rng(0).uniform(-1, 1, (11, 3, 33, 47)).astype(np.float32)
    found = segmenter(photos)
    assert found.shape == (11, 33, 47)
    assert found.dtype == np.uint8
    with torch.no_grad():
        expected = network(torch.from_numpy(photos)).argmax(1).numpy()
    assert (found == expected).mean() > 0.999, "batches and memory layout change roundings only"
    assert len(np.unique(found)) > 1
    assert described().in_words() == (
        "FCN-8s (fc6 and fc7 of 6) trained on 367 photos of 3 classes at 32 x 48 for 1,200 images; weights: none: "
        "every weight began at random"
    )


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
    with pytest.raises(UserError, match=r"there is no segmenter at .*nowhere\. Train one: unpaired segment train"):
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
        ({"size": [3]}, "not a valid description"),
    ],
)
def test_descriptions_of_something_else(
    network: Fcn8s, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], words: str
) -> None:
    monkeypatch.setattr("unpaired.evaluation.segmentation.model.verify", lambda _: None)
    write_segmenter(tmp_path / "s", network, described())
    document = json.loads((tmp_path / "s" / DOCUMENT).read_text())
    (tmp_path / "s" / DOCUMENT).write_text(json.dumps({**document, **change}))
    with pytest.raises(UserError, match=words):
        Segmenter.load(tmp_path / "s")


def test_label_maps_of_other_classes_are_refused() -> None:
    fed = Labels(kind="index", palette=LABELS.palette, void=(9,), feed="one_hot")
    require_classes(described(), fed)
    painted = Labels(kind="index", palette=((1, 1, 1), (2, 2, 2), (3, 3, 3)), void=(9,))
    require_classes(described(), painted)
    for other in (
        Labels(kind="index", palette=LABELS.palette[:2], void=(9,)),
        Labels(kind="index", palette=LABELS.palette, void=(2,)),
        Labels(kind="colour", palette=(*LABELS.palette[:2], (7, 7, 7))),
    ):
        with pytest.raises(UserError, match="the segmenter names 3 classes and the label maps have other ones"):
            require_classes(described(), other)
