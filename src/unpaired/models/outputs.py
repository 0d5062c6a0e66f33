"""What translations of files are called and in which format they are written; checked before anything is computed."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from string import Formatter
from typing import Literal, NamedTuple, TypeVar, get_args

from unpaired.core.errors import UserError
from unpaired.core.files import full_suffix
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.bad_image import BadImage
from unpaired.data.decode import reader_of
from unpaired.data.encode import FORMATS, require_format
from unpaired.data.folders import in_frames, list_images
from unpaired.data.formats import is_image_folder, suffix_of, written_suffixes
from unpaired.data.formats.dicom import is_bare_dicom
from unpaired.data.values import DTYPE_RANGES, Domain
from unpaired.models.conversion import with_type
from unpaired.models.label_conversion import require_label_format
from unpaired.models.translator import Translator

Alpha = Literal["keep", "drop"]
AUTO = "auto"
"""The format of the input where its reader writes one, else `default_format`."""
NAME_FIELDS = ("stem", "ext", "direction")
"""What `name` may hold in braces: the input's name without its suffix, the suffix without its dot, `a2b` or `b2a`."""
BIT_DEPTHS: dict[int, str] = {8: "uint8", 16: "uint16", 32: "float32"}
_LISTED = 20
"""Names that a message lists."""
_LONGEST = 255
"""Bytes of a file name."""
Found = TypeVar("Found", bound=Path | str)


def find_images(given: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the image files that one input names, each with its path relative to that input."""
    if not given.exists():
        raise UserError(f"there is no file or folder at {given}. Give image files or folders of images.")
    if not given.is_dir() or is_image_folder(given):
        yield given, Path(given.name)
        return
    for path in list_images(given):
        yield path, path.relative_to(given)


class Kind(NamedTuple):
    """What is written of one input file."""

    suffix: str
    """Of the output; empty for a folder of single images."""
    images: int = 1
    """How many the file holds."""
    is_like: bool = False
    """Whether the output is a file like the input, with its geometry and metadata (`Reader.open_output`)."""


def kind_of(path: Path, format: str, default: str, source: Domain) -> Kind:
    """Return what is written of a file where `format` is asked for (`auto`, `tiff`), else as `default` (`png`).

    `source` is what the model reads, which says how files of several images are cut. A file of another kind of its own
    is asked for nothing: most files are decided by their suffix alone.
    """
    images = len(in_frames([path], source.axis, source.neighbours, source.channels))
    if suffix_of(path) in written_suffixes() or is_bare_dicom(path):
        try:
            own = reader_of(path).output_suffix(path)
        except BadImage:  # whoever reads it says so
            own = ""
        if own and (format == AUTO or _same_format(own, f".{format}")):
            return Kind(own, images, is_like=True)
    return Kind("" if images > 1 else f".{default}", images)


def _same_format(one: str, two: str) -> bool:
    return one.lower() == two or (one in FORMATS and FORMATS.get(two) is FORMATS[one])


def plan_outputs(
    found: Iterable[tuple[Found, PurePath]],
    suffix: str | Callable[[Found], str],
    name: str,
    direction: str,
    same: Callable[[Found, Found], bool] = operator.eq,
) -> dict[PurePath, Found]:
    """Return the inputs by the relative paths of their outputs, in order; an input that is given twice counts once.

    `found` yields inputs with their relative paths, `suffix` (`.png`) is that of the outputs, or of the output of an
    input, and `same` tells whether two inputs are one. Raises `UserError` where an output would be written from more
    than one input.
    """
    outputs: dict[PurePath, Found] = {}
    clashes: dict[PurePath, list[Found]] = {}
    for source, relative in found:
        ext, ending = full_suffix(relative), suffix if isinstance(suffix, str) else suffix(source)
        ext = "" if ext[1:].isdecimal() else ext  # names that are identifiers: 1.2.840.10008
        stem = relative.name.removesuffix(ext)
        file = name.format(stem=stem, ext=ext.removeprefix("."), direction=direction) + ending
        if len(os.fsencode(file)) > _LONGEST:
            raise UserError(
                f"{printable(source)}: its translation would have a name of more than {_LONGEST} bytes. Nothing "
                f"was translated. Rename it, or choose a shorter {option('name')}."
            )
        output = relative.parent / file
        other = outputs.setdefault(output, source)
        if other is not source and not same(other, source):
            clashes.setdefault(output, [other]).append(source)
    if clashes:
        lines = [f"{' and '.join(map(printable, them))} -> {printable(output)}" for output, them in clashes.items()]
        more = [f"and {len(lines) - _LISTED:,} more"] if len(lines) > _LISTED else []
        raise UserError(
            f"{plural(len(lines), 'output')} would be written from more than one input. Nothing was translated.\n  "
            + "\n  ".join([*lines[:_LISTED], *more])
            + f"\nTell them apart by {option('name', '{stem}_{ext}')}, or translate them into separate folders."
        )
    return outputs


def checked_name(name: str) -> str:
    """Return a form of names; `UserError` unless it is made of text and `NAME_FIELDS` alone."""
    allowed = f"allowed are text without slashes and {', '.join(f'{{{field}}}' for field in NAME_FIELDS)}"
    try:
        parts = list(Formatter().parse(name))
    except ValueError as error:
        raise UserError(f"{option('name', name)}: {error}; {allowed}.") from error
    for text, of, form, conversion in parts:
        if "/" in text or "\\" in text or (of is not None and (of not in NAME_FIELDS or form or conversion)):
            raise UserError(f"{option('name', name)}: {allowed}.")
    if any(not letter.isprintable() for letter in name):
        raise UserError(f"{option('name', printable(name))}: it holds a control character; {allowed}.")
    if not name:
        raise UserError(f"{option('name', name)}: it is empty; {allowed}.")
    return name


def keeps_alpha(alpha: Alpha | None, translator: Translator, format: str, written_as: Domain) -> bool:
    """Say whether the inputs' alpha is written; `UserError` where that was asked for and cannot be."""
    if alpha not in (None, *get_args(Alpha)):
        raise UserError(f"{option('alpha', alpha)}: allowed are {', '.join(get_args(Alpha))}.")
    if translator.source.alpha or translator.target.alpha:
        return False  # the model was trained on it and makes it itself
    reason = ""
    if f".{format}" not in FORMATS:
        reason = f"{format} files hold no alpha here"
    elif FORMATS[f".{format}"].with_alpha is None:
        able = ", ".join(suffix for suffix, form in FORMATS.items() if form.with_alpha is not None)
        reason = f"{FORMATS[f'.{format}'].name} files hold no alpha here; formats that do: {able}"
    elif translator.source.labels or translator.target.labels:
        reason = "label maps have no alpha"
    elif written_as.channels not in (1, 3) or written_as.dtype == "int16" or translator.source.channels not in (1, 3):
        reason = "only grey and RGB images can have alpha"
    if reason and alpha == "keep":
        raise UserError(f"{option('alpha', alpha)}: {reason}. Leave it out, or choose another {option('format')}.")
    return alpha != "drop" and not reason


def output_domain(target: Domain, format: str, bit_depth: int | None) -> Domain:
    """Return what is written, see `stored_domain`; `UserError` where the format (`png`) cannot hold it.

    A format that would be read back as another image cannot: two or four channels as PNG are taken for opacity.
    """
    domain = stored_domain(target, bit_depth)
    if domain.labels is not None:
        require_label_format(domain.labels, format, bit_depth)
        require_format(f".{format}", "uint8", 1 if domain.labels.kind == "index" else 3)
        return domain
    if format == "png" and domain.channels in (2, 4) and not domain.alpha:
        raise UserError(
            f"the last of {domain.channels} channels of a PNG file is opacity, and this model's is not: it would be "
            f"laid over white when it is read again. Use {option('format', 'tiff')} or npy, or leave it out."
        )
    try:
        require_format(f".{format}", domain.dtype, domain.channels)
    except UserError as error:
        if f".{format}" not in FORMATS:
            raise
        # Values that mean something by themselves are not rescaled to fit a format.
        depth = target.range is None and target.dtype in ("uint8", "uint16") and domain.dtype != "uint8"
        remedy = f", or choose another {option('bit_depth')}" if depth else ""
        chosen = default_format(domain)
        raise UserError(f"{error} Or leave {option('format')} out ({chosen} is chosen then){remedy}.") from error
    return domain


def check_metadata(keep: bool, deidentify: bool, translator: Translator, format: str) -> None:
    """Raise `UserError` where metadata of pictures are asked for and cannot be written."""
    form, reason = FORMATS.get(f".{format}"), ""
    if form is not None and not form.has_metadata:
        reason = f"{form.name} files hold none; formats that do: png, jpg, webp, tiff"
    elif translator.target.labels is not None:
        reason = "label maps have none"
    elif deidentify:
        reason = f"{option('deidentify')} leaves out what it keeps"
    if keep and reason:
        raise UserError(f"{option('keep_metadata')}: {reason}. Leave one of them out.")


def stored_domain(target: Domain, bit_depth: int | None) -> Domain:
    """Return the target domain in the wanted bit depth, whatever the format.

    A depth that its own type has means that type (16 is int16 for domains of int16), so that its values stay. A
    declared range is kept in floating point too; integers of another depth are filled from end to end.
    """
    if bit_depth is not None and bit_depth not in BIT_DEPTHS:
        raise UserError(f"{option('bit_depth', bit_depth)}: allowed are 8, 16 and 32 (floating point).")
    if target.labels is not None:
        require_label_format(target.labels, "png", bit_depth)
        return target
    own = bit_depth is None or (bit_depth == 16 and target.dtype == "int16")
    dtype = target.dtype if own or bit_depth is None else BIT_DEPTHS[bit_depth]
    return with_type(target, dtype, declared=dtype in (target.dtype, "float32"))


def default_format(domain: Domain) -> str:
    """Return `png` where PNG holds images of this domain and they are read back as they are, else `tif`."""
    if domain.labels is not None:
        return "png"
    fits = domain.dtype in ("uint8", "uint16") and (domain.channels in (1, 3) or domain.alpha)
    return "png" if fits else "tif"


def rescaled_notice(target: Domain, written_as: Domain) -> list[str]:
    """Return what a person should know where another bit depth changes values that mean something by themselves."""
    if written_as.dtype == target.dtype or (target.range is None and target.dtype in ("uint8", "uint16")):
        return []
    old, new = (domain.range or DTYPE_RANGES[domain.dtype] for domain in (target, written_as))
    if old == new:
        return []
    spans = [f"{low:g}..{high:g}" for low, high in (old, new)]
    return [
        f"{option('bit_depth')}: values were rescaled from {spans[0]} to {spans[1]} for {written_as.dtype}, and no "
        "longer mean what those of the training images mean. Leave it out to keep them"
    ]
