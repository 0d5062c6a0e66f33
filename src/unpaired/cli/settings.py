"""`unpaired settings`: every setting with its default, what it allows and what it does."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import TYPE_CHECKING

from unpaired.cli.app import app
from unpaired.cli.options import Switch
from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.terminal import say

if TYPE_CHECKING:
    from unpaired.core.settings import Setting

Group = tuple[str, str, list[tuple[str, "Setting"]]]
"""Title, what the settings are for, and the settings by their dotted names."""
INTRODUCTION = """# Settings

Every setting has one dotted name, in files (`--config`), with `--set NAME=VALUE` and in Python
(`unpaired.train(..., settings={"NAME": value})`); those with an option of `unpaired train` say so. This page is written
by `unpaired settings --markdown`; `unpaired settings cyclegan` and `unpaired settings cyclegan pool_size` show the same
in a terminal.
"""


@app.command
def settings(
    method: str | None = None,
    name: str | None = None,
    /,
    *,
    markdown: Switch = False,
) -> int:
    """List the settings of data, training and a method, or explain one.

    unpaired settings cyclegan

    unpaired settings cut nce_layers

    unpaired settings crop_size

    Parameters
    ----------
    method
        A method, for its settings too; or the name of a setting.
    name
        A setting, such as pool_size or data.crop_size: shows it in full.
    markdown
        Print all settings of all methods as a page of Markdown, as docs/settings.md.
    """
    from unpaired.methods import METHODS

    if markdown:
        say(page(), end="")
        return 0
    if method is not None and method not in METHODS and name is None and ":" not in method:
        method, name = None, method
    groups = [*_shared(), *([] if method is None else _of_method(method))]
    if name is None:
        if method is None:
            say(f"Methods: {', '.join(METHODS)}. Their settings: unpaired settings METHOD.\n")
        say("\n\n".join(_listed(group) for group in groups))
        return 0
    if not any(_is_called(dotted, name) for _, _, settings in groups for dotted, _ in settings) and method is None:
        groups += [group for each in METHODS for group in _of_method(each)]
    say(_explained(groups, name))
    return 0


def _shared() -> list[Group]:
    from unpaired.data.config import DataConfig
    from unpaired.training.config import TrainingConfig

    return [
        *_groups("data", DataConfig, "Data", "Which images, and how they are read and prepared."),
        *_groups("training", TrainingConfig, "Training", "How long, how fast, how exact, and what is kept."),
    ]


def _of_method(method: str) -> list[Group]:
    from unpaired.training.settings import find_settings_class

    kind = find_settings_class(method)
    return list(_groups("method", kind, f"Method {method}", _summary(kind)))


def _groups(section: str, kind: type, title: str, text: str) -> Iterator[Group]:
    """Yield the settings of a class, and those of each table of settings in it."""
    from unpaired.core.settings import describe, settings_classes

    settings = [(f"{section}.{setting.name}", setting) for setting in describe(kind)]
    yield title, text, settings
    for dotted, setting in settings:
        for inner in settings_classes(setting.hint):
            yield from _groups(dotted, inner, f"{title}: {dotted} ({inner.__name__})", _summary(inner))


def _summary(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _listed(group: Group) -> str:
    from unpaired.core.settings import shown

    title, text, settings = group
    lines = [title, "=" * len(title), fill(text, 80)]
    for dotted, setting in settings:
        default = shown(setting.default)
        flag = f"  ({setting.flag.name})" if setting.flag else ""
        lines.append(f"\n{dotted}{f' = {default}' if default else ''}{flag}")
        lines.append(fill(setting.doc, 80, initial_indent="    ", subsequent_indent="    "))
    return "\n".join(lines)


def _is_called(dotted: str, name: str) -> bool:
    return dotted == name or dotted.endswith(f".{name}")


def _explained(groups: list[Group], name: str) -> str:
    """Return all that is known of the settings of a name; `UserError` where there is none."""
    from unpaired.core.settings import shown

    found: dict[str, str] = {}
    for title, _, settings in groups:
        for dotted, setting in settings:
            if _is_called(dotted, name):
                flag = f", or {setting.flag.name} VALUE" if setting.flag else ""
                allowed = fill(f"allowed: {setting.allowed}", 80, initial_indent="  ", subsequent_indent="    ")
                text = f"{fill(setting.doc, 80)}\n  default: {shown(setting.default) or 'none'}\n{allowed}"
                found.setdefault(f"{dotted}\n{text}\n  set it:  --set {dotted}=VALUE{flag}", title)
    if not found:
        names = [dotted for _, _, settings in groups for dotted, _ in settings]
        near = did_you_mean(name, [*names, *(each.rpartition(".")[2] for each in names)])
        raise UserError(f"there is no setting {name!r}.{near} List all: unpaired settings METHOD.")
    return "\n\n".join(f"{text}\n  ({title})" for text, title in found.items())


def page() -> str:
    """Return docs/settings.md: all settings of the data, the training and every method."""
    from unpaired.core.settings import shown
    from unpaired.methods import METHODS

    lines = [INTRODUCTION]
    seen: set[str] = set()
    for title, text, settings in [*_shared(), *(group for method in METHODS for group in _of_method(method))]:
        inner = title.partition(": ")[2]
        if inner in seen:  # a family of networks, described with the first method that has it
            continue
        seen |= {inner} - {""}
        head = "| setting | default | allowed | |\n| --- | --- | --- | --- |"
        lines += [f"## {inner or title}", "", text, "", head]
        for dotted, setting in settings:
            flag = f"<br>`{setting.flag.name}`" if setting.flag else ""
            default = f"`{shown(setting.default)}`" if shown(setting.default) else ""
            cells = (f"`{dotted}`{flag}", default, setting.allowed, setting.doc)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)
