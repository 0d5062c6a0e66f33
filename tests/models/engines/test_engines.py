"""Every engine computes what PyTorch computes: any size, any channels, both families, both norms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from unpaired.core.device import fast_bf16
from unpaired.core.errors import UserError
from unpaired.data.values import Domain
from unpaired.models.engines import pytorch
from unpaired.models.engines.base import Arithmetic, Engine, NotFiniteError
from unpaired.models.engines.choice import Job, open_engine
from unpaired.models.engines.onnx_runtime import OnnxRuntimeEngine
from unpaired.models.engines.openvino import OpenVinoEngine
from unpaired.models.engines.pytorch import TorchEngine
from unpaired.models.exactness import compare, fixed_pictures, reference
from unpaired.models.folder import ModelCard
from unpaired.models.graph import graph_file
from unpaired.models.translator import Translator
from unpaired.networks import Generator, InitConfig, ResnetConfig, UnetConfig, build_generator, initialize

CPU = torch.device("cpu")
SIZES = ((1, 9), (8, 8), (7, 13), (33, 20), (64, 48))
NETWORKS = {
    "resnet": (ResnetConfig(width=8, blocks=2), 3, 3),
    "resnet batch nearest": (ResnetConfig(width=8, blocks=1, norm="batch", upsampling="nearest"), 1, 2),
    "unet": (UnetConfig(width=8, depth=3), 4, 1),
    "unet batch nearest": (UnetConfig(width=8, depth=4, norm="batch", upsampling="nearest"), 3, 3),
}
bf16_only = pytest.mark.skipif(not fast_bf16(CPU), reason="this processor has no bfloat16 instructions")


def make_network(name: str) -> Generator:
    """Return a network whose activations have a size like those of a trained one."""
    config, inputs, outputs = NETWORKS[name]
    torch.manual_seed(0)
    network = build_generator(config, inputs, outputs)
    initialize(network, InitConfig(gain=0.1))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        network.train()
        network(torch.rand(4, inputs, 64, 64) * 2 - 1)  # gives batch norms statistics
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=list(NETWORKS))
def graph(request: pytest.FixtureRequest) -> Iterator[tuple[Generator, Path]]:
    network = make_network(request.param)
    with graph_file(network, None) as path:
        yield network, path


def differences(engine: Engine, network: Generator) -> dict[str, float]:
    found = compare(engine.translate, reference(network), fixed_pictures(network.in_channels, SIZES))
    assert found.typical <= found.largest
    return {"largest": found.largest, "psnr": found.psnr}


OPENERS: dict[str, Callable[[Path, Arithmetic], Engine]] = {
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": OpenVinoEngine,
}


@pytest.mark.parametrize("name", list(OPENERS))
def test_graph_engines_in_float32(name: str, graph: tuple[Generator, Path]) -> None:
    network, path = graph
    engine = OPENERS[name](path, "fp32")
    assert differences(engine, network)["largest"] < 2e-4
    spread = reference(network)(fixed_pictures(network.in_channels)[0]).std()
    assert spread > 0.02, "else nothing was compared"
    batch = torch.rand(3, network.in_channels, 9, 22) * 2 - 1
    result = engine.translate(batch)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, reference(network)(batch), rtol=0, atol=2e-4)
    halved = batch.to(torch.float64).flip(-1)  # another dtype, and not contiguous
    torch.testing.assert_close(engine.translate(halved), reference(network)(halved.float()), rtol=0, atol=2e-4)


@bf16_only
def test_openvino_in_bf16(graph: tuple[Generator, Path]) -> None:
    network, path = graph
    found = differences(OpenVinoEngine(path, "bf16"), network)
    assert found["largest"] > 1e-4, "it is bf16"
    assert found["psnr"] > 30


class OldProcessor:
    """Stands for OpenVINO on a processor without bfloat16 instructions, which computes in float32 whatever is asked."""

    def read_model(self, path: Path) -> OldProcessor:
        return self

    def compile_model(self, model: object, device: str, settings: dict[str, object]) -> OldProcessor:
        return self

    def get_property(self, name: str) -> OldProcessor:
        return self

    def to_string(self) -> str:
        return "f32"


def test_openvino_refuses_what_the_processor_cannot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("openvino.Core", OldProcessor)
    assert OpenVinoEngine(tmp_path, "fp32").precision == "fp32"
    with pytest.raises(UserError, match=r"--precision bf16: OpenVINO computes in f32 on this CPU"):
        OpenVinoEngine(tmp_path, "bf16")


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_pytorch_in_reduced_precision(name: str, precision: Arithmetic) -> None:
    network = make_network(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    engine = TorchEngine(network, precision, CPU)
    found = differences(engine, network)
    assert found["largest"] > 1e-5, "it is a reduced precision"
    assert found["psnr"] > (30 if precision == "bf16" else 45)
    assert not engine.is_reference
    assert engine.translate(torch.zeros(1, network.in_channels, 5, 5)).dtype == torch.float32
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), "the network itself stays as it is"


def test_pytorch_in_float32_is_the_reference() -> None:
    network = make_network("unet")
    engine = TorchEngine(network, "fp32", CPU)
    assert engine.is_reference
    assert differences(engine, network)["largest"] == 0
    assert str(engine) == "PyTorch, fp32"


def test_winograd_is_as_exact_as_float32_and_leaves_the_network_alone() -> None:
    torch.manual_seed(0)
    network = build_generator(ResnetConfig(width=4, blocks=2), 3, 3).eval()
    engine = TorchEngine(network, "fp32", CPU, winograd=True)
    images = torch.rand(2, 3, 33, 41) * 2 - 1
    expected = reference(network)(images)
    difference = (engine.translate(images) - expected).abs().max()
    assert 0 < difference < 1e-4
    assert torch.equal(reference(network)(images), expected)
    assert str(engine) == "PyTorch with Winograd's convolutions, fp32"
    assert not engine.is_reference


def test_winograd_in_bf16() -> None:
    torch.manual_seed(0)
    network = build_generator(ResnetConfig(width=8, blocks=2), 3, 3).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    engine = TorchEngine(network, "bf16", CPU, winograd=True)
    images = torch.rand(2, 3, 33, 41) * 2 - 1
    found = engine.translate(images)
    assert found.dtype == torch.float32
    assert not torch.equal(found, TorchEngine(network, "bf16", CPU).translate(images)), "another algorithm"
    assert differences(engine, network)["psnr"] > 30
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert str(engine) == "PyTorch with Winograd's convolutions, bf16"


def test_pytorch_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[torch.nn.Module, dict[str, object]]] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **options: calls.append((module, options)))
    network = make_network("resnet")
    engine = TorchEngine(network, "fp32", CPU, compiled=True)
    assert [options for _, options in calls] == [{"dynamic": True}]
    assert calls[0][0] is not network, "the network itself stays as it is"
    assert not engine.is_reference
    assert differences(engine, network)["largest"] == 0
    assert str(engine) == "PyTorch compiled, fp32"


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "has_compiler", lambda: False)
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        TorchEngine(make_network("unet"), "fp32", CPU, compiled=True)


def test_onnx_runtime_out_of_memory(graph: tuple[Generator, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def run(self, names: object, inputs: object) -> list[object]:
            raise Exception("Failed to allocate memory for requested buffer")

    engine = OnnxRuntimeEngine(graph[1], "fp32")
    monkeypatch.setattr(engine, "_session", Full())
    with pytest.raises(MemoryError):
        engine.translate(torch.zeros(1, 3, 8, 8))


# --------------------------------------------------------------------------------------------------- not finite


def overflowing(largest: float) -> Generator:
    """Return a network whose inner values reach `largest`, and whose result is an ordinary picture."""
    network = make_network("resnet")
    with torch.no_grad():
        network.stem.convolution.weight.mul_(largest)
    return network


def test_fp16_that_overflows_becomes_fp32() -> None:
    network = overflowing(1e7)
    images = fixed_pictures(3, ((16, 16),))[0]
    engine = TorchEngine(network, "fp16", CPU)
    assert not engine.compute(images).isfinite().all(), "else nothing is tested"
    torch.testing.assert_close(engine.translate(images), reference(network)(images), rtol=0, atol=1e-5)
    assert str(engine) == "PyTorch, fp32"
    assert len(engine.notices) == 1
    card = ModelCard(origin="", domains={side: Domain(channels=3) for side in "ab"}, translators={})
    translator = Translator(network, card, "a2b", device="cpu", precision="fp16", notices=["another"])
    assert translator.notices == ["another", *engine.notices]
    opened, exactness = open_engine(Job(network=network, device="cpu", engine="torch", precision="fp16"))
    assert (opened.precision, len(opened.notices)) == ("fp32", 1), "known before anything is translated"
    assert exactness().largest < 1e-5
    held, _ = open_engine(Job(network=make_network("resnet"), device="cpu", engine="torch", precision="fp16"))
    assert (held.precision, held.notices) == ("fp16", [])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_result_that_is_not_finite_is_an_error(precision: Arithmetic) -> None:
    with pytest.raises(NotFiniteError, match="not a finite number"):
        TorchEngine(overflowing(float("inf")), precision, CPU).translate(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("name", list(OPENERS))
def test_graph_engines_say_it_too(name: Any) -> None:
    """Also OpenVINO, whose own result is finite where PyTorch's is NaN."""
    with pytest.raises(NotFiniteError):
        open_engine(Job(network=overflowing(float("nan")), device="cpu", engine=name, precision="fp32"))


def test_onnx_runtime_says_it_of_a_later_image() -> None:
    with graph_file(overflowing(float("nan")), None) as path, pytest.raises(NotFiniteError):
        OnnxRuntimeEngine(path, "fp32").translate(torch.zeros(1, 3, 16, 16))
