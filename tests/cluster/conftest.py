from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unpaired.cluster import run
from unpaired.cluster.parts import Part
from unpaired.cluster.worker import Outcome, PartTranslator, Shared
from unpaired.data.values import Domain
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.networks import ResnetConfig, build_generator, describe_generator

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = build_generator(ResnetConfig(width=4, blocks=1), 3, 3)
    card = ModelCard(
        origin="made by a test",
        domains={"a": Domain(channels=3), "b": Domain(channels=3)},
        translators={"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")},
    )
    folder = tmp_path_factory.mktemp("model") / "model"
    write_model(folder, card, {"a2b.safetensors": network.state_dict()})
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Fifty images in folders, two sizes of them, one that is damaged and one of another format."""
    for number in range(50):
        path = tmp_path / "photos" / str(number // 20) / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (9, 12, 3) if number % 5 else (16, 8, 3)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, np.uint8)).save(path)
    (tmp_path / "photos" / "0" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Image.fromarray(np.zeros((7, 7, 3), np.uint8)).save(tmp_path / "photos" / "grey.jpg")
    return tmp_path / "photos"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Let one translator in this process stand for the cluster; returns how often each part was translated."""
    seen: Counter[int] = Counter()

    def outcomes(parts: Sequence[Part], shared: Shared) -> Iterator[Outcome]:
        counts: Counter[str] = Counter()

        def begin(what: str, by: int) -> int:
            counts[what] += by
            return counts[what]

        translator = PartTranslator(shared, shared.translator("cpu", "torch", "fp32"), begin)
        for part in parts:
            seen[part.number] += 1
            yield translator.translate(part)

    class Nothing:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(run, "_outcomes", outcomes)
    monkeypatch.setattr(run, "connected", lambda address: Nothing())
    return seen


@pytest.fixture(scope="session")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="session")
def cluster(gates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster of two workers in this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATES", str(gates))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("UNPAIRED_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(run, "cpus", lambda: 2)
        with run.connected("local"):
            yield
