"""`unpaired convert` on files: models that translate, the way back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from unpaired import Translator, UserError
from unpaired.data.values import Domain
from unpaired.models.convert.files import from_files, to_file
from unpaired.models.convert.weights import to_official
from unpaired.models.folder import ModelCard, TranslatorCard, read_card, verify, write_model
from unpaired.models.loading import load_generator
from unpaired.networks import (
    CoupledGeneratorConfig,
    LatentSearchConfig,
    ResnetConfig,
    build_generator,
    describe_generator,
)


def _official(shared: Path, path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Write the published generator's weights as the authors' code does; return an input and its output."""
    with safe_open(shared / "golden" / "generator_resnet_9blocks_instance.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    weights = {key.removeprefix("weights."): value for key, value in tensors.items() if key.startswith("weights.")}
    torch.save(weights, path)
    return tensors["input"], tensors["output"]


def test_a_published_generator_becomes_a_model_and_goes_back(shared: Path, tmp_path: Path) -> None:
    source = tmp_path / "latest_net_G_A.pth"
    image, expected = _official(shared, source)
    told = from_files([source], tmp_path / "model", "b2a")
    assert "resnet" in told
    assert "blocks 9" in told
    verify(tmp_path / "model")
    card = read_card(tmp_path / "model")
    assert list(card.translators) == ["b2a"]
    assert source.name in card.origin
    translator = Translator.load(tmp_path / "model")
    assert translator.direction == "b2a"
    torch.testing.assert_close(translator(image.clamp(-1, 1)), translator.network(image.clamp(-1, 1)))
    assert (translator.network(image) - expected).abs().max() < 1e-5

    to_file(tmp_path / "model", tmp_path / "back.pth")
    one, other = (torch.load(path, weights_only=True) for path in (source, tmp_path / "back.pth"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_model_keeps_any_size(shared: Path, tmp_path: Path) -> None:
    _official(shared, tmp_path / "G.pth")
    from_files([tmp_path / "G.pth"], tmp_path / "model")
    image = np.random.default_rng(0).integers(0, 256, (31, 45, 3), np.uint8)
    assert Translator.load(tmp_path / "model")(image).shape == image.shape


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("echo pwned",)


def test_what_cannot_be_converted_is_refused_and_nothing_is_written(
    shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _official(shared, tmp_path / "good.pth")
    torch.save({"weight": _Evil()}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_text("no weights")
    out = tmp_path / "model"
    for name, words in (("evil.pth", "system"), ("text.pth", "text.pth"), ("missing.pth", "missing.pth")):
        with pytest.raises(UserError, match=words):
            from_files([tmp_path / name], out)
    with pytest.raises(UserError, match="a2b, b2a"):
        from_files([tmp_path / "good.pth"], out, "a2c")
    assert not out.exists()
    assert "pwned" not in capfd.readouterr().out
    from_files([tmp_path / "good.pth"], out)
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        from_files([tmp_path / "good.pth"], out)
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        to_file(out, tmp_path / "good.pth")
    with pytest.raises(UserError, match="it has a2b"):
        to_file(out, tmp_path / "back.pth", "b2a")
    assert not (tmp_path / "back.pth").exists()


def _write(path: Path, inputs: int, outputs: int, *, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    config = ResnetConfig(width=2, blocks=1)
    network = build_generator(config, inputs, outputs)
    torch.save(to_official(config, network.state_dict()), path)
    return network.state_dict()


def test_two_generators_become_one_model(tmp_path: Path) -> None:
    there, back = _write(tmp_path / "A.pth", 3, 1, seed=0), _write(tmp_path / "B.pth", 1, 3, seed=1)
    from_files([tmp_path / "A.pth", tmp_path / "B.pth"], tmp_path / "model")
    card = read_card(tmp_path / "model")
    assert list(card.translators) == ["a2b", "b2a"]
    assert (card.domains["a"].channels, card.domains["b"].channels) == (3, 1)
    for direction, state in (("a2b", there), ("b2a", back)):
        loaded = load_generator(tmp_path / "model", direction).network.state_dict()
        assert all(torch.equal(loaded[key], state[key]) for key in state)

    from_files([tmp_path / "A.pth"], tmp_path / "one")
    from_files([tmp_path / "B.pth"], tmp_path / "other")  # its only direction is a2b too
    from_files([tmp_path / "one", tmp_path / "other"], tmp_path / "joined")
    assert (
        load_generator(tmp_path / "joined", "b2a").fingerprint == load_generator(tmp_path / "model", "b2a").fingerprint
    )


def test_what_does_not_belong_together_is_not_joined(tmp_path: Path) -> None:
    _write(tmp_path / "A.pth", 3, 1, seed=0)
    _write(tmp_path / "B.pth", 3, 3, seed=1)
    with pytest.raises(UserError, match=r"domain B has 1 channels .*in the second 3 channels"):
        from_files([tmp_path / "A.pth", tmp_path / "B.pth"], tmp_path / "model")
    with pytest.raises(UserError, match="no meaning with two files"):
        from_files([tmp_path / "A.pth", tmp_path / "B.pth"], tmp_path / "model", "a2b")
    assert not (tmp_path / "model").exists()


def test_a_search_has_no_form_in_the_authors_format(tmp_path: Path) -> None:
    config = LatentSearchConfig(source="a", size=(16, 16), generator=CoupledGeneratorConfig(width=2))
    network = build_generator(config, 3, 3)
    card = ModelCard(
        origin="made by a test",
        domains={"a": Domain(channels=3), "b": Domain(channels=3)},
        translators={"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")},
    )
    write_model(tmp_path / "model", card, {"a2b.safetensors": network.state_dict()})
    with pytest.raises(UserError, match="'latent_search'"):
        to_file(tmp_path / "model", tmp_path / "G.pth")
    assert not (tmp_path / "G.pth").exists()
