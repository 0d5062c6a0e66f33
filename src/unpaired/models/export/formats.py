"""What every exported file can do, and which formats there are: a format is one file and one line of `FORMATS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.settings import option
from unpaired.models.exactness import Run
from unpaired.networks import Generator

FormatName = Literal["onnx", "openvino", "torchscript", "torch-export"]


class Exported(ABC):
    """A network in the form of some runtime, in memory; `image` [N, C, H, W] to `translation` [N, C', H, W]."""

    @abstractmethod
    def save(self, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write the file with its metadata; return everything that was written, that file last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of file: how it is made, run and read."""

    label: str
    convert: Callable[[Generator], Exported]
    """Brings a network (CPU, float32) into this form."""
    quantized: Callable[[Path], Exported] | None = None
    """Brings an int8 ONNX file into this form; None where there is no int8."""
    open: Callable[[Path], Run]
    """Opens a file with its runtime, in float32."""
    metadata: Callable[[Path], dict[str, str]]
    """Reads the metadata of a file."""


class _Known(NamedTuple):
    suffix: str
    module: str
    """The module in this package whose `FORMATS` holds it."""
    needs: tuple[str, ...] = ()
    """What must be installed to write and to check it."""


_KNOWN: dict[FormatName, _Known] = {
    "onnx": _Known(".onnx", "onnx_file", ("onnx", "onnxscript", "onnxruntime")),
    "openvino": _Known(".xml", "openvino_file", ("openvino", "onnx", "onnxscript")),
    "torchscript": _Known(".pt", "torch_files"),
    "torch-export": _Known(".pt2", "torch_files"),
}
SUFFIXES: dict[FormatName, str] = {name: known.suffix for name, known in _KNOWN.items()}


def load_format(name: FormatName) -> Format:
    """Return a format; `UserError` where what it needs is not installed. Imports nothing of the others."""
    if missing := [module for module in _KNOWN[name].needs if find_spec(module) is None]:
        raise UserError(
            f"{option('format', name)} needs {' and '.join(missing)}, not installed here. Install what is missing: "
            f"pip install {' '.join(missing)}."
        )
    found: Format = import_module(f"{__package__}.{_KNOWN[name].module}").FORMATS[name]
    return found


def find_format(out: Path, name: str | None) -> FormatName:
    """Return the format that was named, or that the suffix names; `UserError` where they are unknown or differ."""
    known = ", ".join(f"{form} ({suffix})" for form, suffix in SUFFIXES.items())
    for form in get_args(FormatName):
        chosen: FormatName = form
        if name is None and out.suffix.lower() == SUFFIXES[chosen]:
            return chosen
        if name == chosen:
            if out.suffix.lower() != SUFFIXES[chosen]:
                raise UserError(
                    f'{option("format", name)} writes {SUFFIXES[chosen]} files; received the suffix "{out.suffix}".'
                )
            return chosen
    if name is None:
        raise UserError(
            f'no format has the suffix "{out.suffix}" of {out}. Formats: {known}. Or name one: {option("format")}.'
        )
    raise UserError(f'there is no format "{name}". Formats: {known}.{did_you_mean(name, SUFFIXES)}')
