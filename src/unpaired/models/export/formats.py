"""What every kind of exported file can do, and which there are: a format is one file and one line of `FORMATS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.settings import option
from unpaired.models.exactness import Run
from unpaired.networks import Generator

FormatName = Literal["onnx", "openvino", "torchscript", "torch-export"]


class Format(ABC):
    """A kind of file: how it is made, run and read; `image` [N, C, H, W] to `translation` [N, C', H, W]."""

    label: ClassVar[str]

    @abstractmethod
    def convert(self, network: Generator) -> Any:
        """Bring a network (CPU, float32) into the form of the runtime, in memory."""

    def quantized(self, path: Path) -> Any:
        """Bring an int8 ONNX file into this form."""
        raise NotImplementedError

    @abstractmethod
    def save(self, content: Any, path: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write what was converted with its metadata; return all that was written, `path` last."""

    @abstractmethod
    def open(self, path: Path) -> Run:
        """Open a file with its runtime, in float32."""

    @abstractmethod
    def metadata(self, path: Path) -> dict[str, str]:
        """Read the metadata of a file."""


class _Known(NamedTuple):
    suffix: str
    place: str
    """Module and class in this package."""
    needs: tuple[str, ...] = ()
    """What must be installed to write and to check it."""


FORMATS: dict[FormatName, _Known] = {
    "onnx": _Known(".onnx", "onnx_file:OnnxFormat", ("onnx", "onnxscript", "onnxruntime")),
    "openvino": _Known(".xml", "openvino_file:OpenVinoFormat", ("openvino", "onnx", "onnxscript")),
    "torchscript": _Known(".pt", "torch_files:ScriptFormat"),
    "torch-export": _Known(".pt2", "torch_files:ProgramFormat"),
}
SUFFIXES: dict[FormatName, str] = {name: known.suffix for name, known in FORMATS.items()}


def load_format(name: FormatName) -> Format:
    """Return a format; `UserError` where what it needs is not installed. Imports nothing of the others."""
    if missing := [module for module in FORMATS[name].needs if find_spec(module) is None]:
        raise UserError(
            f"{option('format', name)} needs {' and '.join(missing)}, not installed here. Install what is missing: "
            f"pip install {' '.join(missing)}."
        )
    found: Format = resolve_name(f"{__package__}.{FORMATS[name].place}")()
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
