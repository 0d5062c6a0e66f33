"""A user's own methods, networks, metrics, image sources and readers: `package.module:Name`, or installed entry points.

Code is imported only where the user names it: on the command line, in a call, or by installing a package that declares
an entry point. What a run or model folder alone names is looked up with `find_extension` and never imported.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any, Literal, get_args

from unpaired.core.errors import UserError, did_you_mean

Kind = Literal["method", "generator", "discriminator", "metric", "source", "reader"]
"""What an extension is."""
GROUPS: dict[Kind, str] = {kind: f"unpaired.{kind}s" for kind in get_args(Kind)}
"""Entry-point group of each kind: `unpaired.methods`, `unpaired.generators`, ..."""
_SPEC = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_allowed: set[str] = set()
"""Specs that the user has named in this process."""


def is_spec(name: object) -> bool:
    """Whether it has the form `package.module:Name`."""
    return isinstance(name, str) and _SPEC.fullmatch(name) is not None


def installed(kind: Kind) -> list[str]:
    """Return the plain names of installed extensions of a kind."""
    return sorted({entry.name for entry in _entries(kind)})


def _entries(kind: Kind) -> EntryPoints:
    return _entries_on(kind, tuple(sys.path))


@functools.lru_cache(maxsize=32)
def _entries_on(kind: Kind, path: tuple[str, ...]) -> EntryPoints:
    """Read what every installed package declares, once: that takes as long as some steps of a small training."""
    return entry_points(group=GROUPS[kind])


def is_extension(name: object, kind: Kind) -> bool:
    """Whether a name is that of an extension: `package.module:Name`, or an installed one."""
    return is_spec(name) or name in installed(kind)


def allow_extensions(specs: Iterable[str]) -> None:
    """Allow, for this process, what the user names with `--extension` or `extensions=[...]`, and import it now.

    Raises `UserError` where one cannot be imported.
    """
    for spec in specs:
        import_name(spec)
        _allowed.add(spec)


def named_extensions() -> list[str]:
    """Return the specs that the user has named in this process, sorted."""
    return sorted(_allowed)


def load_extension(spec: str, kind: Kind) -> Any:
    """Return the object that the user names: `package.module:Name`, or the plain name of an installed entry point.

    Only for names from the command line or a call; for those that a folder holds use `find_extension`.
    """
    if is_spec(spec):
        allow_extensions([spec])
    return find_extension(spec, kind)


def find_extension(spec: str, kind: Kind, needed_by: str = "this model") -> Any:
    """Return the extension that a model or run folder names, where it is installed or the user has named it.

    Installed are entry points, found by their name or by `package.module:Name`. Raises `UserError` otherwise, with
    what is missing and how to give it.
    """
    for entry in _entries(kind):
        if spec in (entry.name, entry.value):
            return import_name(entry.value)
    if spec in _allowed:
        return import_name(spec)
    if is_spec(spec):
        raise UserError(
            f"{needed_by} needs the {kind} {spec}, which is not installed as an extension, and code that only a folder "
            f"names is not imported. If you trust it, name it: --extension {spec} on the command line, "
            f'extensions=["{spec}"] in Python.'
        )
    names = installed(kind)
    known = f"Installed: {', '.join(names)}." if names else "None is installed."
    raise UserError(
        f"{needed_by} needs the {kind} {spec!r}, and there is no such extension.{did_you_mean(spec, names)} {known} "
        "Install the package that provides it, or give package.module:Name."
    )


def import_name(spec: str) -> Any:
    """Import `package.module:Name` and return the object; also from the current folder. UserError where that fails."""
    if not is_spec(spec):
        raise UserError(f"{spec!r} is not the name of an extension. Give package.module:Name, such as my_package:Mine.")
    module, _, name = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not search the current folder by itself
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f'{spec}: there is no Python module "{error.name}". Run the command in the folder of the module, or '
            "install it."
        ) from error
    except Exception as error:  # the user's module can raise anything
        raise UserError(f"{spec}: the module cannot be imported ({type(error).__name__}: {error}).") from error
    try:
        return pkgutil.resolve_name(spec)
    except AttributeError as error:
        raise UserError(f"{spec}: the module has no {name}.{did_you_mean(name, vars(found))}") from error


def as_subclass(found: Any, base: type[Any], spec: str) -> Any:
    """Return `found` where it is a class derived from `base`; UserError otherwise."""
    if isinstance(found, type) and issubclass(found, base):
        return found
    raise UserError(f"{spec} must be a class derived from {base.__module__}.{base.__qualname__}; it is {found!r}.")
