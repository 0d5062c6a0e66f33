"""Which engine and which arithmetic: what was asked for, or what `auto` finds best for this model on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple, final, get_args

import torch

from unpaired.core.device import fast_bf16, find_device
from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.settings import option
from unpaired.models.engines import EngineChoice, Precision
from unpaired.models.engines.base import ENGINE_NAMES, Arithmetic, Engine, EngineName, NotFiniteError, not_finite
from unpaired.models.engines.pytorch import TorchEngine
from unpaired.models.exactness import EXACT, Exactness, compare, fixed_pictures, reference
from unpaired.models.graph import graph_file, has_graph, recall_exactness
from unpaired.networks import Generator, ResnetGenerator

FromGraph = Callable[[Path, Arithmetic], Engine]
"""Opens an ONNX file in some precision."""
SUFFICIENT_PSNR = 40.0
"""dB: `auto` takes a reduced precision only where it measured at least this for the model at hand."""
WORTH_LOADING = 32
"""Images from which `auto` takes the time (half a second) to load a graph that is there already."""
WINOGRAD_CHANNELS = 256
"""Channels of the residual blocks from which `auto` takes Winograd's algorithm on CPUs."""
WORTH_MAKING = 400
"""Images from which `auto` takes the time (five to ten seconds) to make a model's graph."""


class _Kind(NamedTuple):
    """What is known of an engine before it is imported."""

    precisions: tuple[Arithmetic, ...]
    modules: tuple[str, ...] = ()
    """What must be installed to run a graph and to make one."""
    opens: str = ""
    """What opens a graph (`FromGraph`), to be imported; empty for PyTorch, which needs none."""


ENGINES: dict[EngineName, _Kind] = {
    "torch": _Kind(("fp32", "bf16", "fp16")),
    "torch-winograd": _Kind(("fp32", "bf16")),
    "torch-compile": _Kind(("fp32", "bf16", "fp16")),
    "onnxruntime": _Kind(("fp32",), ("onnxruntime", "onnxscript"), f"{__package__}.onnx_runtime:OnnxRuntimeEngine"),
    "openvino": _Kind(("fp32", "bf16"), ("openvino", "onnxscript"), f"{__package__}.openvino:OpenVinoEngine"),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be computed, and what was asked for."""

    network: Generator
    """On the CPU, float32, in evaluation mode."""
    device: str | torch.device = "auto"
    engine: EngineChoice = "auto"
    precision: Precision = "auto"
    fine: bool = False
    """Whether results are kept in more than 8 bits per value; then `auto` computes in float32."""
    fingerprint: str | None = None
    """Identifies the network; None for one that no model folder holds."""
    images: int | None = None
    """How many images will be translated; None where that is not known, and `auto` starts as fast as it can."""


def open_engine(job: Job) -> tuple[Engine, Callable[[], Exactness]]:
    """Return an engine and what says how exact it is for this network, measured when first asked for and remembered.

    Raises `UserError` for names that do not exist, for an engine that is not installed or does not compute in that
    precision or on that device. `auto` takes the first of `candidates` that is installed, works here and is exact
    enough.
    """
    checks = (("engine", job.engine, ("auto", *ENGINE_NAMES)), ("precision", job.precision, get_args(Precision)))
    for what, given, allowed in checks:
        if given not in allowed:
            raise UserError(
                f'there is no {what} "{given}"; choose one of {", ".join(allowed)}.{did_you_mean(str(given), allowed)}'
            )
    device = find_device(job.device)
    if job.network.is_search:
        return _open_search(job, device)
    choices = list(candidates(job, device))
    for last, (name, precision) in zip([False] * (len(choices) - 1) + [True], choices, strict=True):
        try:
            engine = _open(job, name, precision, device)
        except UserError:
            if last:
                raise
            continue  # a reason against this engine is none against the next
        exactness = cache(partial(_exactness, job, engine))
        if last or precision == "fp32" or job.precision == precision or exactness().psnr >= SUFFICIENT_PSNR:
            return engine, exactness
    raise AssertionError("the last choice returns or raises")


def _open_search(job: Job, device: torch.device) -> tuple[Engine, Callable[[], Exactness]]:
    """Return PyTorch in float32 for a search, or `UserError` where something else was asked for."""
    for name, given, able in (("engine", job.engine, "torch"), ("precision", job.precision, "fp32")):
        if given not in ("auto", able):
            raise UserError(
                f"{option(name, given)} cannot be used with this model: its translation is a search, an "
                f"optimisation for each image and not a network, and needs {option(name, able)}. Choose that, or "
                "leave it out."
            )
    engine = TorchEngine(job.network, "fp32", device)

    def exactness() -> Exactness:
        if engine.is_reference:
            return EXACT
        raise UserError(
            f"a search on {device} has nothing to be compared with: rounding may lead it to another result. "
            "What it left over (`Translator.search.last_errors`) says how good a translation is."
        )

    return engine, exactness


def candidates(job: Job, device: torch.device) -> Iterator[tuple[EngineName, Arithmetic]]:
    """Yield what `auto` tries in turn, best first; one pair where both engine and precision were asked for."""
    reduced: list[Arithmetic] = ["bf16"] if fast_bf16(device) and not job.fine else []
    precisions: list[Arithmetic] = [*reduced, "fp32"] if job.precision == "auto" else [job.precision]
    count = job.images or 0
    worth = count >= WORTH_MAKING or (count >= WORTH_LOADING and has_graph(job.fingerprint))
    graphs: list[EngineName] = ["openvino", "onnxruntime"]
    fit = worth and device.type == "cpu" and job.network.exportable
    auto: list[EngineName] = [*(name for name in graphs if fit and not _missing(name)), "torch"]
    asked_for_speed = job.precision == "auto" and device.type == "cpu"
    if asked_for_speed and _residual_channels(job.network) >= WINOGRAD_CHANNELS:
        auto.insert(0, "torch-winograd")
    engines: list[EngineName] = auto if job.engine == "auto" else [job.engine]
    pairs = [(name, precision) for precision in precisions for name in engines]
    possible = [(name, precision) for name, precision in pairs if precision in ENGINES[name].precisions]
    yield from possible or pairs


def _open(job: Job, name: EngineName, precision: Arithmetic, device: torch.device) -> Engine:
    kind = ENGINES[name]
    if precision not in kind.precisions:
        able = [other for other, form in ENGINES.items() if precision in form.precisions]
        raise UserError(
            f"--engine {name} does not compute in {precision}; it does in {', '.join(kind.precisions)}. Engines for "
            f"{precision}: {', '.join(able)}."
        )
    winograd = name == "torch-winograd"
    if winograd and (device.type != "cpu" or not _residual_channels(job.network)):
        raise UserError(
            f"{option('engine', name)} computes the residual blocks of ResNets on the CPU; received "
            f"{type(job.network).__name__} on {device}. Choose {option('engine', 'torch')}, or leave it out."
        )
    if not kind.opens:
        engine = TorchEngine(job.network, precision, device, compiled=name == "torch-compile", winograd=winograd)
        if precision == "fp16":  # whose range may not suffice: seen before anything is said of the engine
            with contextlib.suppress(NotFiniteError):
                engine.translate(fixed_pictures(job.network.in_channels, ((64, 64),))[0])
        return engine
    if device.type != "cpu" and job.device != "auto":
        raise UserError(f"--engine {name} computes on the CPU only; received --device {device}. Choose --engine torch.")
    if not job.network.exportable:
        raise UserError(
            f"--engine {name} cannot compute this model's network, {type(job.network).__name__}, which says that it is "
            "not exportable. Choose --engine torch, or leave it out."
        )
    if missing := _missing(name):
        raise UserError(
            f"--engine {name} needs {' and '.join(missing)}, not installed here. Install what is missing: "
            f"pip install {' '.join(missing)}, or choose --engine torch."
        )
    try:
        from_graph: FromGraph = resolve_name(kind.opens)
    except ImportError as error:
        raise UserError(f"--engine {name} is installed but cannot be loaded ({error}). Install it anew.") from error
    if not bool(reference(job.network)(fixed_pictures(job.network.in_channels, ((64, 64),))[0]).isfinite().all()):
        raise not_finite("fp32")  # OpenVINO would make a picture of it
    with graph_file(job.network, job.fingerprint) as graph:
        try:
            return from_graph(graph, precision)
        except RuntimeError as error:  # OpenVINO's for a layer that it has no code for on this CPU
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise UserError(
                f"--engine {name} cannot prepare this network in {precision} on this CPU ({reason}). Choose "
                "another --precision, or --engine torch."
            ) from error


def _residual_channels(network: Generator) -> int:
    return network.residual_channels if isinstance(network, ResnetGenerator) else 0


def _missing(name: EngineName) -> list[str]:
    return [module for module in ENGINES[name].modules if find_spec(module) is None]


def _exactness(job: Job, engine: Engine) -> Exactness:
    if engine.is_reference:
        return EXACT
    hardware = f"{engine.device.type} {torch.backends.cpu.get_cpu_capability()} {fast_bf16(engine.device)}"
    if engine.device.type == "cuda":
        hardware = torch.cuda.get_device_name(engine.device)
    setting = {"engine": engine.label, "precision": engine.precision, "processor": hardware}

    def measure() -> Exactness:
        pictures = fixed_pictures(job.network.in_channels)
        return compare(lambda images: engine.compute(images).cpu(), reference(job.network), pictures)

    return recall_exactness({**setting, **engine.versions}, job.fingerprint, measure)
