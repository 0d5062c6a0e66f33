"""Every method from two folders to a translation: trains, goes on to the last bit, translates, says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import unpaired
from runs import TINY, write_images
from unpaired.core.errors import UserError
from unpaired.methods import METHODS
from unpaired.models.folder import checkpoints_of
from unpaired.training import preview
from weights import write_vgg

BOTH = {"cyclegan", "stegogan", "bigan", "dclgan", "cogan", "masked"}
SMALL = {
    **{name: value for name, value in TINY.items() if not name.startswith("method.")},
    "training.decay_epochs": 0,
    "training.ema": 0.9,
    "training.checkpoint_every_images": 100,
}
NETWORKS: dict[str, Any] = {
    "method.generator": {"width": 4, "blocks": 1},
    "method.discriminator": {"width": 4, "layers": 1},
}
OF: dict[str, dict[str, Any]] = {
    "cyclegan": NETWORKS,
    "stegogan": NETWORKS,
    "bigan": NETWORKS,
    "simgan": NETWORKS,
    "feature_gan": {**NETWORKS, "method.feature_size": 0},
    "cut": {**NETWORKS, "method.nce_layers": [0, 4, 8], "method.num_patches": 8, "method.embedding_width": 4},
    "fastcut": {**NETWORKS, "method.nce_layers": [0, 4, 8], "method.num_patches": 8, "method.embedding_width": 4},
    "dclgan": {**NETWORKS, "method.nce_layers": [4, 8], "method.num_patches": 8, "method.embedding_width": 4},
    "unsb": {**NETWORKS, "method.nce_layers": [4, 8], "method.num_patches": 8, "method.embedding_width": 4},
    "pix2pix": {
        "method.generator": {"width": 4, "depth": 3, "dropout": False},
        "method.discriminator": {"width": 4, "layers": 1},
        "training.batch_size": 2,
    },
    "masked": {
        "method.generator": {"width": 4, "depth": 2, "tokens": 12, "heads": 3, "blocks": 1},
        "method.patch": 4,
        "training.batch_size": 2,
    },
    "cogan": {
        "method.generator": {"width": 4, "latent": 4},
        "method.discriminator": {"width": 4},
        "method.search": {"steps": 3, "restarts": 2},
        "training.batch_size": 4,
        "training.schedule": "constant",
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), {"trainA": 8, "trainB": 8, "testA": 2, "testB": 2})


def test_none_is_left_out() -> None:
    assert set(OF) == set(METHODS)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF)
def test_trains_resumes_exactly_and_translates(name: str, data: Path, tmp_path: Path) -> None:
    settings = {**SMALL, **_flat(OF[name])}
    if name == "cogan":
        settings.pop("training.decay_epochs")
    if name == "feature_gan":
        settings["method.vgg_weights"] = str(write_vgg(tmp_path / "vgg.safetensors"))
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    unpaired.train(name, data=data, out=whole, settings=settings, quiet=True)
    unpaired.train(name, data=data, out=halves, settings={**settings, "training.max_images": 8}, quiet=True)
    unpaired.train(resume=halves, settings={"training.max_images": 16}, quiet=True)
    ours, theirs = checkpoints_of(halves)[0], checkpoints_of(whole)[0]
    assert ours.name == theirs.name
    files = sorted(path.name for path in theirs.glob("*.safetensors"))
    for file in files:
        assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file

    directions = {"a2b", "b2a"} if name in BOTH else {"a2b"}
    assert {file.removesuffix(".safetensors") for file in files} - {"training"} == directions
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (21, 17, 3), dtype=np.uint8))
    for direction in directions:
        assert unpaired.Translator.load(halves, direction, device="cpu")(picture).size == (17, 21)
    if name not in BOTH:
        with pytest.raises(UserError, match=rf"trained with {name} translates one way only.*method\.direction=b2a"):
            unpaired.Translator.load(halves, "b2a")


def test_grids_of_pairs_show_what_was_wanted(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns: list[list[str]] = []
    draw = preview.grid

    def spy(rows: Any, names: Any, title: str) -> Any:
        columns.append([*rows[0]])
        target = rows[0].get("target")
        if target is not None:
            with Image.open(data / "testB" / "0.png") as image:
                wanted = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC))
            assert np.abs(target.astype(int) - wanted).max() <= 1
        return draw(rows, names, title)

    monkeypatch.setattr(preview, "grid", spy)
    for name in ("pix2pix", "simgan"):
        settings = {**SMALL, **_flat(OF[name]), "training.max_images": 2}
        unpaired.train(name, data=data, out=tmp_path / name, settings=settings, quiet=True)
    assert ["input", "translation", "target"] in columns
    assert ["input", "translation"] in columns


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat
