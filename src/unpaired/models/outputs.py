"""What translations of files are called and in which format they are written; checked before anything is computed."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from string import Formatter
from typing import Literal, TypeVar, get_args

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.encode import FORMATS, require_format
from unpaired.data.folders import list_images
from unpaired.data.values import Domain
from unpaired.models.conversion import with_type
from unpaired.models.label_conversion import require_label_format
from unpaired.models.translator import Translator

Alpha = Literal["keep", "drop"]
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
    if not given.is_dir():
        yield given, Path(given.name)
        return
    for path in list_images(given):
        yield path, path.relative_to(given)


def plan_outputs(
    found: Iterable[tuple[Found, PurePath]],
    suffix: str,
    name: str,
    direction: str,
    same: Callable[[Found, Found], bool] = operator.eq,
) -> dict[PurePath, Found]:
    """Return the inputs by the relative paths of their outputs, in order; an input that is given twice counts once.

    `found` yields inputs with their relative paths, `suffix` (`.png`) is that of the outputs, and `same` tells whether
    two inputs are one. Raises `UserError` where an output would be written from more than one input.
    """
    outputs: dict[PurePath, Found] = {}
    clashes: dict[PurePath, list[Found]] = {}
    for source, relative in found:
        file = name.format(stem=relative.stem, ext=relative.suffix.removeprefix("."), direction=direction) + suffix
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
    if FORMATS[f".{format}"].with_alpha is None:
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
    """Return what is written: the target domain in the wanted bit depth; `UserError` where the format cannot hold it.

    A declared range of the target domain is kept in its own type and in floating point; integers of another depth are
    filled from end to end.
    """
    if bit_depth is not None and bit_depth not in BIT_DEPTHS:
        raise UserError(f"{option('bit_depth', bit_depth)}: allowed are 8, 16 and 32 (floating point).")
    if target.labels is not None:
        require_label_format(target.labels, format, bit_depth)
        require_format(f".{format}", "uint8", 1 if target.labels.kind == "index" else 3)
        return target
    dtype = target.dtype if bit_depth is None else BIT_DEPTHS[bit_depth]
    try:
        require_format(f".{format}", dtype, target.channels)
    except UserError as error:
        remedy = f" Or choose another depth with {option('bit_depth')}." if f".{format}" in FORMATS else ""
        raise UserError(f"{error}{remedy}") from error
    return with_type(target, dtype, declared=dtype in (target.dtype, "float32"))
