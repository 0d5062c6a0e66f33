"""Weight files of other programs: read without running anything that is in them."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.core.files import open_regular
from unpaired.core.text import listing

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which programs keep the weights beside other things."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
LARGEST_FILE = 8 << 30
"""Bytes; published generators have 10 to 220 MB."""
_ARCHIVE = "Unpack it, and give the .pth file inside."
_KINDS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them (.h5)", ""),
    (0, b"\x04\0\0\0\1\0\0\0", "a file of Lua's Torch 7 (.t7)", ""),
    (0, b"4\n1\n", "a file of Lua's Torch 7 (.t7)", ""),
    (4, b"TFL3", "a model of TensorFlow Lite", ""),
    (0, b"\x93NUMPY", "a NumPy array", ""),
    (0, b"version https://git-lfs", "a pointer of Git LFS in place of the file", "Fetch it with git lfs pull."),
    (257, b"ustar", "a tar archive", _ARCHIVE),
    (0, b"\x1f\x8b", "an archive of gzip", _ARCHIVE),
    (0, b"BZh", "an archive of bzip2", _ARCHIVE),
    (0, b"\xfd7zXZ", "an archive of xz", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip", _ARCHIVE),
    (0, b"Rar!", "an archive of RAR", _ARCHIVE),
    (0, b"\x89PNG", "a picture (PNG)", ""),
    (0, b"\xff\xd8\xff", "a picture (JPEG)", ""),
)
"""(position, bytes there, what such a file is, what to do)."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch file (.pth, .pt; zipped or of PyTorch 0.x) or a .safetensors file, on the CPU.

    Unwraps {"state_dict": ...} and removes the prefixes of DataParallel and torch.compile. Raises UserError for a file
    that is missing, damaged or something else, one that unpacks to far more than it is, values that are not finite, and
    a pickle that wants to run code, which is never done.
    """
    if not path.exists() or path.is_dir():
        raise UserError(f"{path} is not a file. Give the path of a .pth, .pt or .safetensors file.")
    try:
        with open_regular(path, at_most=LARGEST_FILE) as file:
            content, most = _read(path, file)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    weights = _tensors(content, path)
    if sum(value.numel() * value.element_size() for value in weights.values()) > most:
        raise UserError(f"{path} describes tensors that are far larger than the file. It is not read.")
    if bad := non_finite(weights):
        raise UserError(
            f"{path}: {bad} are not finite numbers (NaN or infinity); such a network makes black pictures. Its "
            "training diverged, or the file is damaged: give another checkpoint."
        )
    return _without_prefixes(weights)


def non_finite(weights: Mapping[str, Tensor]) -> str:
    """Return `3 of 864 values of down.0.weight` for the first tensor that holds NaN or infinity, empty for none."""
    for name, value in weights.items():
        if value.is_floating_point() and (bad := int((~value.isfinite()).sum())):
            return f"{bad:,} of {value.numel():,} values of {name}"
    return ""


def _read(path: Path, file: BinaryIO) -> tuple[Any, int]:
    """Return the content of a weight file, and how many bytes its tensors may have together."""
    start = file.read(512)
    most = 4 * file.seek(0, 2) + (64 << 20)
    file.seek(0)
    what, advice = _kind(start)
    if start.startswith(b"PK\x03\x04"):
        what, advice = _zip_kind(path, file, most)
        file.seek(0)
    if what:
        raise UserError(
            f"{path} cannot be read as weights: it is {what}. "
            f"{advice or 'Give the .pth, .pt or .safetensors file of a PyTorch generator.'}"
        )
    if path.suffix.lower() == ".safetensors" or (start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 27):
        try:
            return load_file(path, device="cpu"), most
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read as a safetensors file: {error}. It may be damaged.") from error
    return _read_pickle(path, file), most


def _kind(start: bytes) -> tuple[str, str]:
    """Return what a file that begins like this is, and what to do; empty where it may hold weights."""
    if not start:
        return "empty (0 bytes)", "Download or copy it again."
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "an HTML page, as a failed download leaves it", "Open it in a browser to see why, and download again."
    if re.match(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]", start):
        return "an ONNX graph", ""
    return next(((what, do) for at, magic, what, do in _KINDS if start[at:].startswith(magic)), ("", ""))


def _zip_kind(path: Path, file: BinaryIO, most: int) -> tuple[str, str]:
    """Return what a zip archive is; empty for weights as `torch.save` writes them. UserError for a zip bomb."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError):
        return "a damaged zip archive", "A download that stopped early is a common cause."
    names = [entry.filename for entry in entries]
    if sum(entry.file_size for entry in entries) > most:
        raise UserError(f"{path} unpacks to far more than its own size. It is not read.")
    if any(name.endswith(("constants.pkl", "archive_format")) for name in names):
        return "a program of TorchScript or torch.export", "Give the file of network.state_dict()."
    if any(name.endswith("data.pkl") for name in names):
        return "", ""
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy (.npz)", ""
    if any(name.endswith((".h5", "saved_model.pb")) for name in names):
        return "a model of Keras or TensorFlow", ""
    some = listing([name[:80] for name in names[:3]]) + (" and more" if len(names) > 3 else "")
    return f"a zip archive of {some or 'nothing'}", _ARCHIVE


def _read_pickle(path: Path, file: BinaryIO) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # about kinds of pickles, which the error names
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        wanted = re.search(r"(?:GLOBAL|global:?|class|function) +`?([A-Za-z_][\w]*(?:\.[\w.]+)+)", str(error))
        if wanted:
            raise UserError(
                f"{path} is a pickle that wants to run {wanted[1]}; this is refused, since such a file can do "
                "anything. Only plain tensors are read: in the program that wrote it, save network.state_dict() "
                "instead of the whole network."
            ) from error
        first = next(iter(str(error).strip().splitlines()), "no reason given")
        # PyTorch's own words advise to switch safe loading off.
        unsafe = re.search(r"weights.only", str(error), re.IGNORECASE) is not None
        reason = "no plain tensors, which is all that is read" if unsafe else first
        raise UserError(
            f"{path} cannot be read as a PyTorch weight file ({type(error).__name__}: {reason}). It is damaged, or "
            "it is something else; a download that stopped early is a common cause."
        ) from error


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        what = "no weights" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise UserError(f"{path} holds {what}, not a dictionary from names to tensors as network.state_dict() gives.")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout is not torch.strided:
            raise UserError(
                f"{path} holds {name!r}, which is a {type(value).__name__}, not a plain tensor. Give a file with the "
                "weights of one network, as network.state_dict() gives them."
            )
    return {name: value.detach() for name, value in content.items()}


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES * 2:  # either may stand around the other
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights
