"""What every exported file can do, and which formats there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from unpaired.core.errors import UserError, did_you_mean
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
    suffix: str
    convert: Callable[[Generator], Exported]
    """Brings a network (CPU, float32) into this form."""
    quantized: Callable[[Path], Exported] | None = None
    """Brings an int8 ONNX file into this form; None where there is no int8."""
    open: Callable[[Path], Run]
    """Opens a file with its runtime, in float32."""
    metadata: Callable[[Path], dict[str, str]]
    """Reads the metadata of a file."""


def load_format(name: FormatName) -> Format:
    """Return a format; `UserError` where what it needs is not installed. Imports nothing of the others."""
    if missing := [module for module in _NEEDS[name] if find_spec(module) is None]:
        raise UserError(
            f"--format {name} needs {' and '.join(missing)}, not installed here. Install what is missing: "
            f"pip install {' '.join(missing)}."
        )
    return _FORMATS[name]()


def find_format(out: Path, name: str | None) -> FormatName:
    """Return the format that was named, or that the suffix names; `UserError` where they are unknown or differ."""
    suffix = out.suffix.lower()
    known = ", ".join(f"{form} ({ending})" for form, ending in SUFFIXES.items())
    if name is None:
        for form, ending in SUFFIXES.items():
            if suffix == ending:
                return form
        raise UserError(f'no format has the suffix "{out.suffix}" of {out}. Formats: {known}. Or name one: --format.')
    for form in get_args(FormatName):
        if form == name:
            if suffix != SUFFIXES[form]:
                raise UserError(f'--format {name} writes {SUFFIXES[form]} files; received the suffix "{out.suffix}".')
            chosen: FormatName = form
            return chosen
    raise UserError(f'there is no format "{name}". Formats: {known}.{did_you_mean(name, SUFFIXES)}')


def _onnx() -> Format:
    from unpaired.models.export.onnx_file import FORMAT

    return FORMAT


def _openvino() -> Format:
    from unpaired.models.export.openvino_file import FORMAT

    return FORMAT


def _torchscript() -> Format:
    from unpaired.models.export.torch_files import TORCHSCRIPT

    return TORCHSCRIPT


def _torch_export() -> Format:
    from unpaired.models.export.torch_files import TORCH_EXPORT

    return TORCH_EXPORT


SUFFIXES: dict[FormatName, str] = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".pt", "torch-export": ".pt2"}
_FORMATS: dict[FormatName, Callable[[], Format]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "torchscript": _torchscript,
    "torch-export": _torch_export,
}
_NEEDS: dict[FormatName, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "onnx", "onnxscript"),
    "torchscript": (),
    "torch-export": (),
}
"""What must be installed to write and to check a format."""
