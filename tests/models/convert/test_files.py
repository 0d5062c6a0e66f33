"""`unpaired convert` on files: models that translate, the way back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from unpaired import Translator, UserError
from unpaired.models.convert.files import from_file, to_file
from unpaired.models.folder import read_card, verify


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
    told = from_file(source, tmp_path / "model", "b2a")
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
    from_file(tmp_path / "G.pth", tmp_path / "model")
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
            from_file(tmp_path / name, out)
    with pytest.raises(UserError, match="a2b, b2a"):
        from_file(tmp_path / "good.pth", out, "a2c")
    assert not out.exists()
    assert "pwned" not in capfd.readouterr().out
    from_file(tmp_path / "good.pth", out)
    with pytest.raises(UserError, match="exists already"):
        from_file(tmp_path / "good.pth", out)
    with pytest.raises(UserError, match="exists already"):
        to_file(out, tmp_path / "good.pth")
    with pytest.raises(UserError, match="it has a2b"):
        to_file(out, tmp_path / "back.pth", "b2a")
    assert not (tmp_path / "back.pth").exists()
