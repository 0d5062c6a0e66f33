"""Every kind of layer that a translator may have can be exported, for every size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unpaired.data.values import Domain
from unpaired.models.export.formats import load_format
from unpaired.models.export.model import export_model
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.networks import (
    BridgeResnetConfig,
    GeneratorConfig,
    InitConfig,
    MaskedResnetConfig,
    ResnetConfig,
    UnetConfig,
    build_generator,
    describe_generator,
    initialize,
)

NETWORKS: dict[str, GeneratorConfig] = {
    "antialiased": ResnetConfig(width=4, blocks=1, downsampling="blur", upsampling="blur"),  # cut, fastcut
    "bridge": BridgeResnetConfig(width=4, blocks=1, steps=2, downsampling="blur", upsampling="blur"),  # unsb
    "masked": MaskedResnetConfig(width=4, blocks=1),  # the way back of stegogan
    "unet-batch": UnetConfig(width=4, depth=3, norm="batch"),  # pix2pix
}
ALIKE = (("masked", ".xml"), ("masked", ".pt"), ("unet-batch", ".onnx"), ("unet-batch", ".xml"))
"""Left out for the time that they take: made of the same layers as the others, or covered by the engines' tests."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "suffix"),
    [(name, suffix) for name in NETWORKS for suffix in (".onnx", ".xml", ".pt") if (name, suffix) not in ALIKE],
)
def test_exports_and_takes_any_size(name: str, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_generator(NETWORKS[name], 3, 3)
    initialize(network, InitConfig(gain=0.1))
    card = ModelCard(
        origin="made by a test",
        domains={"a": Domain(channels=3), "b": Domain(channels=3)},
        translators={"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")},
        training_size=(64, 64),
    )
    write_model(tmp_path / "model", card, {"a2b.safetensors": network.state_dict()})
    report = export_model(tmp_path / "model", tmp_path / f"m{suffix}")
    run = load_format({".onnx": "onnx", ".xml": "openvino", ".pt": "torchscript"}[suffix]).open(report.files[-1])
    for shape in ((1, 3, 64, 64), (2, 3, 40, 24), (1, 3, 33, 18)):
        image = torch.rand(shape) * 2 - 1
        assert run(image).shape == shape
    image = torch.rand(2, 3, 48, 80) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(run(image), network.eval()(image), rtol=0, atol=1e-3)
