"""What `auto` means, and what is said where something cannot be done."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.models.engines import choice
from unpaired.models.engines.base import Arithmetic, Engine, EngineName
from unpaired.models.engines.choice import WORTH_LOADING, WORTH_MAKING, Job, candidates, open_engine
from unpaired.models.exactness import reference
from unpaired.networks import Generator, ResnetConfig, build_generator

CPU = torch.device("cpu")


@pytest.fixture
def network() -> Generator:
    return build_generator(ResnetConfig(width=2, blocks=0), 3, 3).eval().requires_grad_(False)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine to be described by each test: with bfloat16, everything installed, and no graph made yet."""
    facts: dict[str, Any] = {"bf16": True, "missing": [], "graph": False}
    monkeypatch.setattr(choice, "fast_bf16", lambda device: facts["bf16"])
    monkeypatch.setattr(choice, "find_spec", lambda name: None if name in facts["missing"] else name)
    monkeypatch.setattr(choice, "has_graph", lambda fingerprint: facts["graph"])
    return facts


def order(network: Generator, **asked: Any) -> list[str]:
    return [f"{name} {precision}" for name, precision in candidates(Job(network=network, **asked), CPU)]


def test_a_small_job_starts_at_once(network: Generator, machine: dict[str, Any]) -> None:
    for images in (None, 1, WORTH_LOADING - 1):
        machine["graph"] = True
        assert order(network, images=images) == ["torch bf16", "torch fp32"]
    machine["graph"] = False
    assert order(network, images=WORTH_MAKING - 1) == ["torch bf16", "torch fp32"]


def test_a_large_job_takes_the_fastest(network: Generator, machine: dict[str, Any]) -> None:
    best = ["openvino bf16", "torch bf16", "openvino fp32", "onnxruntime fp32", "torch fp32"]
    assert order(network, images=WORTH_MAKING) == best
    machine["graph"] = True
    assert order(network, images=WORTH_LOADING) == best
    machine["missing"] = ["openvino"]
    assert order(network, images=WORTH_MAKING) == ["torch bf16", "onnxruntime fp32", "torch fp32"]


def test_no_bf16_without_instructions_or_for_fine_values(network: Generator, machine: dict[str, Any]) -> None:
    assert order(network, fine=True) == ["torch fp32"]
    machine["bf16"] = False
    assert order(network) == ["torch fp32"]


def test_wide_residual_blocks_are_convolved_by_winograd(machine: dict[str, Any]) -> None:
    with torch.device("meta"):
        wide = build_generator(ResnetConfig(width=64, blocks=1), 3, 3)
        narrow = build_generator(ResnetConfig(width=32, blocks=1), 3, 3)
    assert order(wide) == ["torch-winograd bf16", "torch bf16", "torch-winograd fp32", "torch fp32"]
    assert order(wide, images=WORTH_MAKING)[:2] == ["torch-winograd bf16", "openvino bf16"]
    assert order(wide, fine=True) == ["torch-winograd fp32", "torch fp32"]
    assert order(narrow) == ["torch bf16", "torch fp32"]
    assert order(wide, precision="bf16") == ["torch bf16"]
    machine["bf16"] = False
    assert order(wide) == ["torch-winograd fp32", "torch fp32"]
    assert order(wide, images=WORTH_MAKING)[0] == "torch-winograd fp32"
    assert order(wide, precision="fp32") == ["torch fp32"], "the reference, where float32 was asked for"
    assert order(narrow) == ["torch fp32"]
    assert order(narrow, engine="torch-winograd") == ["torch-winograd fp32"]


def test_what_was_asked_for_is_all_that_is_tried(network: Generator, machine: dict[str, Any]) -> None:
    many = WORTH_MAKING
    assert order(network, engine="torch", precision="fp16", images=many) == ["torch fp16"]
    assert order(network, engine="onnxruntime") == ["onnxruntime fp32"], "it has no bf16"
    assert order(network, engine="openvino") == ["openvino bf16", "openvino fp32"]
    assert order(network, precision="bf16", images=many) == ["openvino bf16", "torch bf16"]
    assert order(network, precision="fp16", images=many) == ["torch fp16"]
    cuda = candidates(Job(network=network, images=many), torch.device("cuda"))
    assert list(cuda) == [("torch", "bf16"), ("torch", "fp32")]


class Shifted(Engine):
    """Adds to every value; in bf16 a given number, in float32 a little."""

    label = "Shifted"

    def __init__(self, network: Generator, precision: Arithmetic, shift: float) -> None:
        super().__init__(precision, CPU)
        self.versions: dict[str, str] = {}
        self._run, self._shift = reference(network), shift if precision == "bf16" else 1e-6

    def compute(self, images: Tensor) -> Tensor:
        return self._run(images) + self._shift


@pytest.mark.parametrize(("shift", "chosen"), [(0.019, "bf16"), (0.021, "fp32")])
def test_auto_takes_bf16_from_40_db_on(
    network: Generator, machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch, shift: float, chosen: str
) -> None:
    def opened(job: Job, name: EngineName, precision: Arithmetic, device: torch.device) -> Engine:
        return Shifted(job.network, precision, shift)

    monkeypatch.setattr(choice, "_open", opened)  # a shift by 0.02 in a range of 2 is 40 dB
    engine, exactness = open_engine(Job(network=network))
    assert engine.precision == chosen
    assert exactness().largest == pytest.approx(shift if chosen == "bf16" else 1e-6, rel=0.1)
    asked, exactness = open_engine(Job(network=network, precision="bf16"))
    assert asked.precision == "bf16", "what is asked for is done"
    assert exactness().largest == pytest.approx(shift, rel=0.1)


def test_auto_passes_over_what_does_not_work(
    network: Generator, machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(job: Job, name: EngineName, precision: Arithmetic, device: torch.device) -> Engine:
        if name == "openvino":
            raise UserError("does not work here")
        return Shifted(job.network, precision, 1e-4)

    monkeypatch.setattr(choice, "_open", opened)
    engine, _ = open_engine(Job(network=network, images=WORTH_MAKING))
    assert str(engine) == "Shifted, bf16"
    with pytest.raises(UserError, match="does not work here"):
        open_engine(Job(network=network, engine="openvino"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"engine": "openvion"}, r'no engine "openvion".*Did you mean "openvino"'),
        ({"precision": "int8"}, r'no precision "int8"; choose one of auto, fp32, bf16, fp16'),
        ({"engine": "onnxruntime", "precision": "bf16"}, r"does not compute in bf16; it does in fp32.*torch"),
        ({"engine": "openvino", "precision": "fp16"}, r"does not compute in fp16; it does in fp32, bf16"),
        ({"engine": "torch-winograd"}, r"residual blocks of ResNets on the CPU; received ResnetGenerator on cpu"),
    ],
)
def test_what_cannot_be_done_is_said(network: Generator, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_engine(Job(network=network, device="cpu", **asked))


@pytest.mark.parametrize(("engine", "module"), [("openvino", "openvino"), ("onnxruntime", "onnxscript")])
def test_what_is_not_installed_names_the_command(
    network: Generator, machine: dict[str, Any], engine: Any, module: str
) -> None:
    machine["missing"] = [module]
    with pytest.raises(UserError, match=rf"needs {module}, not installed.*pip install .*{module}"):
        open_engine(Job(network=network, engine=engine, precision="fp32"))


def test_a_device_that_an_engine_does_not_have(
    network: Generator, machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "find_device", lambda name: torch.device("cuda"))
    with pytest.raises(UserError, match="computes on the CPU only; received --device cuda"):
        open_engine(Job(network=network, engine="openvino", precision="fp32", device="cuda"))


def test_an_engine_that_cannot_be_loaded(
    network: Generator, machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "unpaired.models.engines.openvino", None)
    with pytest.raises(UserError, match="--engine openvino is installed but cannot be loaded"):
        open_engine(Job(network=network, engine="openvino", precision="fp32", device="cpu"))


@pytest.mark.parametrize(("given", "engine"), [("auto", "PyTorch"), ("openvino", None)])
def test_an_engine_that_cannot_prepare_the_network_here(
    network: Generator, machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch, given: str, engine: str | None
) -> None:
    def fails(graph: object, precision: object) -> None:
        raise RuntimeError("Exception from plugin.cpp:54:\ncould not create a primitive descriptor")

    monkeypatch.setattr(choice, "resolve_name", lambda name: fails)
    machine["bf16"], machine["missing"] = False, ["onnxruntime"]
    job = Job(network=network, device="cpu", engine=given, images=WORTH_MAKING)  # type: ignore[arg-type]
    if engine is not None:
        assert open_engine(job)[0].label == engine
        return
    with pytest.raises(UserError, match=r"cannot prepare this network in fp32 .*primitive descriptor.*--engine torch"):
        open_engine(job)
