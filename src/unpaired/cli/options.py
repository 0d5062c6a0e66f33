"""Options of the commands: those that several share, and those that are settings, which their fields declare."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from cyclopts import Group, Parameter

from unpaired.core.errors import UserError
from unpaired.core.text import printable

if TYPE_CHECKING:
    from unpaired.core.settings import Setting

IMAGES = Group("Images", sort_key=1)
METRICS = Group("Metrics", sort_key=2)
TRAINING = Group("Training", sort_key=2)
COMPUTING = Group("Computing", sort_key=3)
RUN = Group("Run and results", sort_key=4)

GROUPS = {str(group.name): group for group in (IMAGES, METRICS, TRAINING, COMPUTING, RUN)}
ASSIGNED = "--set {name}"
"""The origin of settings that were given by `--set`."""
FORMER = {"--metrics": ("--measures",), "--max-images": ("--images",)}
"""Former and other names of options."""


def _whole(_: Any, tokens: Any) -> int:
    """Read a whole number; where cyclopts would round 1.5, it is refused."""
    text = tokens[0].value
    if not re.fullmatch(r"[-+]?[0-9]{1,30}", text):
        raise ValueError(f'received "{printable(text)[:80]}"; allowed: a whole number.')
    return int(text)


Whole = Annotated[int, Parameter(converter=_whole)]
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
Checkpoint = Annotated[
    str | None,
    Parameter(
        group=RUN,
        help="The checkpoint of a run: best, last or a number of images. [default: best where there is one, else last]",
    ),
]
Direction = Annotated[
    str | None,
    Parameter(
        help="a2b or b2a; also AtoB and BtoA, or by the domains' names: horse2zebra. [default: a2b, or the only one]"
    ),
]
Device = Annotated[str, Parameter(group=COMPUTING, help="auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps.")]
Engine = Annotated[
    Literal["auto", "torch", "torch-winograd", "torch-compile", "onnxruntime", "openvino"],
    Parameter(group=COMPUTING, help="What runs the networks; onnxruntime and openvino run on the CPU only."),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    Parameter(group=COMPUTING, help="Arithmetic; auto is bf16 where the hardware has it and it loses little (40 dB)."),
]
BatchSize = Annotated[Whole, Parameter(group=COMPUTING, help="Images of equal size that are translated together.")]
Cluster = Annotated[
    list[str] | None, Parameter(group=COMPUTING, negative=(), consume_multiple=(0, 1), allow_repeating=False)
]
Extension = Annotated[
    list[str] | None,
    Parameter(
        group=RUN,
        negative=(),
        help="package.module:Name that the model or run needs and that may be imported; may be repeated.",
    ),
]
Quiet = Annotated[
    bool, Parameter(group=RUN, negative=(), show_default=False, help="Print only results, warnings and errors.")
]
Json = Annotated[
    bool,
    Parameter(name="--json", group=RUN, negative=(), show_default=False, help="Print JSON in place of the tables."),
]
Set = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        group=RUN,
        negative=(),
        help="Any other setting, such as method.generator.blocks=6; may be repeated. `unpaired settings` lists them.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Section:
    """Settings that a command has options for."""

    name: str = ""
    """`data` in `data.crop_size`; empty for the command's own."""
    kind: type[Any]
    """Their settings class."""
    group: Group
    """Where `--help` shows those that do not say it themselves."""
    flags: Mapping[str, str] | None = None
    """Field -> option; by default all fields that declare a `Flag`."""
    help: Mapping[str, str] = field(default_factory=dict)
    """Field -> what `--help` says in place of the field's docstring."""

    def options(self) -> dict[str, Option]:
        """Return the options by dotted name."""
        from unpaired.core.settings import describe

        fields = {setting.name: setting for setting in describe(self.kind)}
        flags = self.flags or {name: setting.flag.name for name, setting in fields.items() if setting.flag}
        found = {}
        for name, flag in flags.items():
            setting = fields[name]
            group = GROUPS.get(setting.flag.group if setting.flag else "", self.group)
            help_text = self.help.get(name) or help_of(setting)
            found[f"{self.name}.{name}".lstrip(".")] = Option(flag, setting, help_text, group)
        return found


class Option(NamedTuple):
    """An option that sets one setting."""

    flag: str
    setting: Setting
    help: str
    group: Group


def help_of(setting: Setting) -> str:
    """Return what `--help` says of a setting: its docstring, allowed words and default."""
    from unpaired.core.settings import has_words, shown

    words = f" One of: {setting.allowed}." if has_words(setting.hint) else ""
    known = "[default: " in setting.doc or setting.default in (None, False, MISSING, (), "")
    default = "" if known else f" [default: {shown(setting.default)}]"
    return f"{setting.doc}{words}{default}"


class INT(str):
    """A whole number as it was typed, which `--help` shows as INT: what it must be is the setting's to say."""


class SIZE(str):
    """256 or HEIGHTxWIDTH as it was typed."""


class PATH(str):
    """A file or folder as it was typed."""


def _type_of(setting: Setting) -> type[Any]:
    """Return what `--help` shows as the type of a setting; its value is read by the settings themselves."""
    if setting.allowed == "true or false":
        return bool
    kinds = {"HEIGHTxWIDTH": SIZE, "a path": PATH, "text": str, "whole number": INT}
    return next((kind for word, kind in kinds.items() if word in setting.allowed), str)


def with_settings(
    sections: Callable[[], list[Section]], *, assign: bool = True
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command options for settings; it receives what was given as its argument `given`, `--set` first.

    `assign` says whether there is `--set` too.

    `sections` is called when the command runs or shows its help, so that settings classes are imported no earlier.
    """
    return lambda function: typing.cast("Callable[..., int]", WithSettings(function, sections, assign=assign))


class WithSettings:
    """A function whose signature has an option for each setting in place of `given`."""

    __name__: str
    __qualname__: str
    registered: ClassVar[bool] = False
    """Whether all commands belong to the application, which reads their signatures as they are added: settings classes
    are not imported for that."""

    def __init__(self, function: Callable[..., int], sections: Callable[[], list[Section]], *, assign: bool) -> None:
        self._assign = assign
        self.__name__, self.__qualname__ = function.__name__, function.__qualname__
        self.__module__, self.__doc__ = function.__module__, function.__doc__
        self._function, self._sections = function, sections

    @functools.cached_property
    def options(self) -> dict[str, Option]:
        """The options by dotted name."""
        return {name: found for section in self._sections() for name, found in section.options().items()}

    @property
    def __signature__(self) -> inspect.Signature:
        return self._signature(self.registered)

    @functools.cache  # noqa: B019  # one object for each command, for the life of the process; it is asked for often
    def _signature(self, registered: bool) -> inspect.Signature:
        hints = typing.get_type_hints(self._function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(self._function).parameters.items()
            if name != "given"
        ]
        taken: list[tuple[str, Any]] = []
        for name, option in self.options.items() if registered else ():
            kind = _type_of(option.setting)
            negative = f"--no-{option.flag[2:]}" if option.setting.default is True else ()
            names = (option.flag, *FORMER.get(option.flag, ()))
            parameter = Parameter(name=names, help=option.help, group=option.group, negative=negative)
            taken.append((name.replace(".", "_"), Annotated[kind | None, parameter]))
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in [*taken, *([("set_", Set)] if self._assign else [])]
        ]
        return inspect.Signature([*own, *added], return_annotation=int)

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return {name: parameter.annotation for name, parameter in self.__signature__.parameters.items()}

    def __call__(self, *positional: Any, set_: list[str] | None = None, **named: Any) -> int:
        """Run the function with what was given."""
        from unpaired.core.given import Given, parse_value, read_overrides

        given = [read_overrides(set_)] if set_ else []
        for name, option in self.options.items():
            text = named.pop(name.replace(".", "_"), None)
            if text is not None:
                value = parse_value(text, option.setting.hint) if isinstance(text, str) else text
                given.append(Given({name: value}, option.flag))
        return self._function(*positional, given=given, **named)


def read_size(option: str, text: str | None) -> tuple[int, int] | None:
    """Read 256 or HEIGHTxWIDTH as (height, width)."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(parts) > 2:
        raise UserError(f"{option} {text}: expected a number of pixels (256) or HEIGHTxWIDTH (256x512).")
    return int(parts[0]), int(parts[-1])


def allow(extensions: list[str] | None) -> None:
    """Let what a model or run needs be imported where the command line names it: `--extension package.module:Name`."""
    if extensions:
        from unpaired.core.extensions import allow_extensions

        allow_extensions(extensions)
