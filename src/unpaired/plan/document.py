"""The plan: what was found, and every decision with its value and reason, as a TOML file that a training takes.

    # unpaired plan of horse2zebra
    # Edit the values as you like, then: unpaired train --config plan.toml --out RUN
    # warning: 3 test images of A are in its training images, too.

    [data]
    crop_size = 256  # the shorter side of most images is 256

    [plan]  # the record of this plan, which training passes over

The sections method, data and training are settings as in any file of `unpaired train --config`. The section `plan`
holds findings and decisions as fields, so that no program reads comments.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from unpaired.core.errors import UserError, option
from unpaired.core.files import check_out, read_regular, write_atomic
from unpaired.core.given import LARGEST_DOCUMENT, Given, flatten, read_document
from unpaired.core.text import printable
from unpaired.training.settings import PLAN, SECTIONS, RunConfig, resolve

FORMAT, VERSION = "unpaired-plan", 1
METHOD = "method"
"""The setting of the decision which method is trained; in files and for `resolve` it is `method.name`."""
By = Literal["rule", "probe", "user"]
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_WIDEST = 36
"""Characters of a line of settings up to which the reasons of a section stand in one column."""


def _plain(value: Any) -> Any:
    """Return a value as TOML gives it back: lists for tuples."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


class Decision(BaseModel):
    """One setting of the plan, with its reason."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    setting: str
    """Dotted name, such as `data.crop_size`; `method` for the method."""
    value: Annotated[Any, BeforeValidator(_plain)]
    reason: str = ""
    """A sentence in plain English, without a full stop."""
    by: By = "rule"
    """Who decided: a rule, a probe (short training), or the user."""


class Finding(BaseModel):
    """Something about the data that a person should know before anything slow begins."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    kind: str
    """Short and fixed, such as `test-in-train`."""
    text: str
    """What was found, and what to do about it."""
    severity: Literal["warning", "note"] = "note"
    """A warning is about what would spoil the result or its measurement."""


class Plan(BaseModel):
    """Everything that was decided about a training; immutable."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    title: str = ""
    """Which data it is for."""
    findings: tuple[Finding, ...] = ()
    decisions: tuple[Decision, ...] = ()

    @property
    def by_name(self) -> dict[str, Decision]:
        """The decisions by dotted names as files have them, with `method.name` for the method."""
        return {_dotted(each.setting): each for each in self.decisions}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by dotted names, as `resolve` and `train(settings=...)` take them."""
        return {name: each.value for name, each in self.by_name.items()}

    @property
    def method(self) -> str:
        """The name of the method."""
        return str(self.settings.get("method.name", "cyclegan"))

    def given(self) -> Given:
        """Return the settings as one source of a training's, over which flags and `--set` may win."""
        return Given(self.settings, "plan: {name}")

    def config(self) -> RunConfig:
        """Return the checked settings of the training, with all defaults; raises `UserError`."""
        return resolve([self.given()])

    def decided(self, *decisions: Decision) -> Plan:
        """Return the plan with these decisions in the place of earlier ones; what the user decided stays.

        The settings of another method are other ones: make a plan for that method in place of changing `method` alone.
        """
        table = {each.setting: each for each in self.decisions}
        for each in decisions:
            before = table.get(each.setting)
            if before is None or before.by != "user" or each.by == "user":
                table[each.setting] = each
        return self.model_copy(update={"decisions": tuple(table.values())})

    # ------------------------------------------------------------------------------------------------------- files

    def to_toml(self, name: str = "plan.toml") -> str:
        """Return the content of the plan's file, called `name` in it."""
        lines = [
            f"# unpaired plan of {printable(self.title)}",
            f"# Edit the values as you like, then: unpaired train --config {printable(name)} --out RUN",
            *(f"# {each.severity}: {printable(each.text)}" for each in self.findings),
        ]
        for section in SECTIONS:
            inner = [each for each in self.decisions if _dotted(each.setting).startswith(f"{section}.")]
            lines += ["", f"[{section}]", *_lines(inner, section)] if inner else []
        record = {"setting": ..., "value": ..., "by": ..., "reason": ...}
        findings = [_inline(each.model_dump()) for each in self.findings]
        decisions = [_inline({key: dict(each)[key] for key in record}) for each in self.decisions]
        lines += [
            "",
            f"[{PLAN}]  # the record of this plan, which training passes over",
            *(f"{key} = {_value(value)}" for key, value in (("format", FORMAT), ("version", VERSION))),
            f"title = {_value(self.title)}",
            *_array("findings", findings),
            *_array("decisions", decisions),
        ]
        text = "\n".join(lines) + "\n"
        return f'{text}sha256 = "{_checksum(text)}"\n'

    def write(self, out: str | Path) -> Path:
        """Write the file after the rule of `check_plan_out`, atomically; raises `UserError`."""
        path = check_plan_out(out)
        write_atomic(path, self.to_toml(path.name))
        return path


def check_plan_out(out: str | Path) -> Path:
    """Return where a plan is to be written; raises `UserError`, as `check_out` does and for a plan that was edited."""
    path = check_out(out, suffixes=(".toml",))
    if path.is_file() and not is_untouched(path):
        raise UserError(
            f"{option('out', printable(path))}: this plan has been edited since it was written, and is kept. Choose "
            f"another {option('out')}, or move the file."
        )
    return path


def is_untouched(path: Path) -> bool:
    """Say whether a plan is as it was written, to the byte."""
    text = read_regular(path, at_most=LARGEST_DOCUMENT).decode("utf-8", "replace")
    before, found, line = text.rpartition("sha256 = ")
    return bool(found) and line.strip().strip('"') == _checksum(before)


def read_plan(path: str | Path) -> Plan:
    """Read a plan. The values of its sections count: those that differ from the record are decisions of the user.

    Settings that the record does not know are the user's, too, and those that are gone from the sections are gone.
    Any file of settings is read, with the user as who decided all of it. Raises `UserError`.
    """
    path = Path(os.path.expanduser(path))
    document = read_document(path, printable(path))
    record = document.pop(PLAN, {})
    try:
        planned = Plan.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{printable(path)}: its record is damaged ({PLAN}.{where}: {first['msg']}). The settings above it are "
            f"whole: delete the section [{PLAN}] to use them alone."
        ) from error
    known = {_dotted(each.setting): each for each in planned.decisions}
    decisions = []
    for name, value in flatten(document).items():
        before = known.get(name)
        if before is not None and before.value == value:
            decisions.append(before)
        else:
            reason = "set by hand" if before is None else f"set by hand, in place of {_value(before.value)}"
            setting = METHOD if name == "method.name" else name
            decisions.append(Decision(setting=setting, value=value, reason=reason, by="user"))
    return planned.model_copy(update={"decisions": tuple(decisions)})


def _dotted(setting: str) -> str:
    return "method.name" if setting == METHOD else setting


def _lines(decisions: list[Decision], section: str) -> list[str]:
    """Return a section's settings, one a line, with their reasons as comments."""
    names = [_dotted(each.setting).removeprefix(f"{section}.") for each in decisions]
    lines = [f"{_key(name)} = {_value(each.value)}" for name, each in zip(names, decisions, strict=True)]
    width = max((len(line) for line in lines if len(line) <= _WIDEST), default=0)
    return [
        f"{line:{width}}  # {printable(each.reason)}" if each.reason else line
        for line, each in zip(lines, decisions, strict=True)
    ]


def _array(name: str, items: list[str]) -> list[str]:
    return [f"{name} = [", *(f"  {item}," for item in items), "]"] if items else [f"{name} = []"]


def _key(dotted: str) -> str:
    return ".".join(part if _WORD.fullmatch(part) else _value(part) for part in dotted.split("."))


def _inline(table: Mapping[str, Any]) -> str:
    return f"{{ {', '.join(f'{_key(name)} = {_value(value)}' for name, value in table.items())} }}"


def _value(value: Any) -> str:
    """Return a value as TOML has it; the standard library reads TOML and does not write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return _inline(value) if value else "{}"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
