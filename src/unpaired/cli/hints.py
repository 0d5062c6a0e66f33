"""What a mistyped command or option is answered with: the nearest of the right command, or ours for the authors'."""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError


@functools.cache
def authors_options() -> dict[str, str]:
    """Return what to give in place of each option of pytorch-CycleGAN-and-pix2pix and of CUT."""
    return tomllib.loads((files("unpaired.cli") / "authors_options.toml").read_text(encoding="utf-8"))


def explain(error: CycloptsError, app: App, order: Sequence[str]) -> str:
    """Return one sentence about what the command line cannot understand; `order` is that of the commands."""
    from cyclopts.exceptions import (
        MissingArgumentError,
        RepeatArgumentError,
        UnknownCommandError,
        UnknownOptionError,
        UnusedCliTokensError,
    )

    command = " ".join(["unpaired", *(error.command_chain or ())])
    options = _options_of(app, error.command_chain or ())
    see = f" See {command} --help."
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        typed = error.unused_tokens[0]
        names = sorted(
            (name for name in (error.app or app) if not name.startswith("-")),
            key=lambda name: order.index(name) if name in order else len(order),
        )
        near = nearest(typed, names)
        hint = f' Did you mean "{near}"?' if near else ""
        return f'there is no command "{command} {typed}".{hint} Commands: {", ".join(names)}.{see}'
    unknown = [error.token.keyword or error.token.value] if isinstance(error, UnknownOptionError) else []
    if isinstance(error, MissingArgumentError):  # an option that there is not explains why another one is missing
        typed_options = [token for token in error.root_input_tokens or () if token.startswith("--") and len(token) > 2]
        unknown = [token for token in typed_options if token.split("=")[0].replace("_", "-") not in options]
    if unknown:
        typed = unknown[0].split("=")[0]
        ours = authors_options().get(typed.lstrip("-"))
        if ours is not None and (not ours.startswith("--") or ours.split()[0] in options):
            return f"{command} has no option {typed}. In place of {typed} of the authors' code, give {ours}.{see}"
        near = nearest(typed, options)
        return f"{command} has no option {typed}.{f' Did you mean {near}?' if near else ''}{see}"
    if error.unused_tokens and isinstance(error, UnusedCliTokensError):
        return f"{command}: {error.unused_tokens[0]!r} is one value too many, or an option is given twice.{see}"
    if isinstance(error, RepeatArgumentError):
        return f"{error.token.keyword} is given twice. Give it once.{see}"
    error.verbose = False
    if isinstance(error, MissingArgumentError) and error.argument is not None and not error.unused_tokens:
        return f"{error.argument.name} is missing.{see}"
    return f"{' '.join(str(error).split())}{see}"


def _options_of(app: App, chain: Sequence[str]) -> list[str]:
    for name in chain:
        app = app[name]
    arguments = app.assemble_argument_collection() if app.default_command else []
    return [name for argument in arguments if argument.parse for name in argument.names if name.startswith("-")]


def nearest(typed: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant: most of its letters agree, and it begins alike or is a slip away."""
    known = list(names)
    same = {name.replace("-", "").lower(): name for name in known}
    plain = typed.replace("-", "").replace("_", "").lower()
    if plain in same:
        return same[plain]
    for near in difflib.get_close_matches(plain, list(same), n=1, cutoff=0.7):
        return same[near]
    beginning = [name for key, name in same.items() if key.startswith(plain) and len(plain) >= 3]
    return beginning[0] if len(beginning) == 1 else None
