"""The results documents: what a measurement found, written and read back by the same classes.

`evaluation.json`, `audit.json` and a comparison's `results.json` are these models as JSON. Every table, chart and page
is drawn from them; whatever a reader needs is a field, never part of a sentence.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import check_out, one_at_a_time, read_json, write_atomic
from unpaired.core.text import plural

Better = Literal["lower", "higher"]
Fact = str | int | float | bool | None
Protocol = dict[str, Fact]
"""What a figure depends on, flat: names and values."""
VERSION = 1
LARGEST = 1e100
"""Larger numbers are no measurements, and no chart could show them."""


def _finite(value: object) -> object:
    """Return None for what JSON has no number for, and for what is no measurement."""
    return None if isinstance(value, int | float) and not abs(value) <= LARGEST else value


Number = Annotated[float | None, BeforeValidator(_finite)]


class Part(BaseModel):
    """A part of a document: immutable; unknown keys of newer versions are passed over when it is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, populate_by_name=True)


class Figure(Part):
    """One measured number and everything that it depends on."""

    name: str
    """Short and fixed, such as `swd`."""
    title: str
    value: Number = None
    """None where the number does not exist; `note` then says why."""
    error: Number = None
    """Standard error by the sampling of images; None where it is not known."""
    unit: str = ""
    better: Better | None = None
    group: str = ""
    """Key of `GROUPS`."""
    protocol: Protocol = Field(default_factory=dict)
    note: str | None = None
    detail: bool = False
    """Whether it is a part of another figure (one level of a pyramid): in the document, not in tables."""

    @model_validator(mode="after")
    def _explains_a_missing_value(self) -> Self:
        if self.value is None and not self.note:
            raise ValueError(f"{self.name} has no value and no note that says why")
        return self


class Value(Part):
    """A number in a table."""

    value: Number
    error: Number = None
    """Standard error."""
    unit: str = ""
    best: bool = False
    """Whether it is the best of its row or column, by more than its error."""


Cell = Annotated[str | int | float | Value | None, BeforeValidator(_finite)]


class Table(Part):
    """Rows of cells under named columns; the first column names the row.

    A row of one cell is a heading over the rows below it.
    """

    title: str = ""
    columns: tuple[str, ...]
    rows: tuple[Annotated[tuple[Cell, ...], Field(min_length=1)], ...]
    references: tuple[int, ...] = ()
    """Positions of rows that hold what the others are compared with (bounds, baselines); -1 is the last row."""
    notes: tuple[str, ...] = ()
    """Sentences below the table."""


class Picture(Part):
    """A picture file beside the document."""

    file: str
    title: str = ""
    alt: str = ""
    """What it shows, for a reader who cannot see it."""
    content: bytes = Field(default=b"", exclude=True, repr=False)
    """The file's bytes while it is not yet written."""


class Line(Part):
    """One line of a chart; x rises."""

    name: str
    label: str | None = None
    """Short text at the end of the line; None is the name where that is short, "" is none."""
    x: tuple[Number, ...]
    y: tuple[Number, ...]
    reference: bool = False
    """Whether other lines are compared with it: it is thin and pale, and in the style of the line before it."""
    style: int | None = None
    """Which colour, dashes and marker; None is the next one."""
    best: Number = None
    """x of the best point, which is ringed."""


class Mark(Part):
    """Something that happened at a place of the x axis."""

    x: float
    kind: Literal["resumed", "warning"]
    text: str


class Chart(Part):
    """Lines over a common axis."""

    title: str
    x_label: str = ""
    y_label: str = ""
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    note: str = ""
    smooth: bool = False
    """Whether the values are noisy: a running mean is drawn over them."""
    shaded_to: Number = None
    """The part of the x axis up to here is shaded, and called `shaded_label`."""
    shaded_label: str = ""
    marks: tuple[Mark, ...] = ()
    lines: tuple[Line, ...]


class Answer(Part):
    """What was found of one question: in words, tables, charts and pictures."""

    verdict: str = ""
    """One sentence: what the figures say."""
    summary: str = ""
    """A paragraph below the verdict."""
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = Field(default=(), validation_alias=AliasChoices("charts", "curves"))
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()


class Check(Answer):
    """A question of an audit beside the first; its figures are the direction's, in the group of its name."""

    name: str
    """Key of `GROUPS`."""


class Direction(Answer):
    """What was found of one direction."""

    heading: str = ""
    """Such as `A to B`, or `horse to zebra` where the domains have names."""
    figures: tuple[Figure, ...] = ()
    bounds: dict[str, tuple[Figure, ...]] = Field(default_factory=dict)
    """Figures of other images by the same metrics: `untranslated`, `real_halves`, ..."""
    checks: tuple[Check, ...] = ()
    """Of an audit: what was found beside hidden information, which its own verdict, tables and charts are about."""
    last: tuple[Figure, ...] = ()
    """Figures of the run's last checkpoint, where `figures` are those of the best one."""
    reference_reused: bool = False
    """Whether the statistics of the real images came from the user's cache; it changes no figure."""

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The direction's own verdict with its tables, and the checks of an audit."""
        return (self, *self.checks)

    def figure(self, name: str) -> Figure | None:
        """Return the figure of this name, None where it was not measured."""
        return next((figure for figure in self.figures if figure.name == name), None)


class Model(Part):
    """The model that was measured."""

    path: str
    checkpoint: str
    """Name of the checkpoint's folder, such as `000012000` or `best`."""
    images_seen: int | None = None
    method: str | None = None
    origin: str = ""
    fingerprints: dict[str, str] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        """Return what was measured: `runs/h2z, best checkpoint (12,000 images)`."""
        name = "best checkpoint" if self.checkpoint == "best" else f"checkpoint {self.checkpoint}"
        after = "" if self.images_seen is None else f" ({plural(self.images_seen, 'image')})"
        path = Path(self.path)
        run = path.parent.parent if path.parent.name == "checkpoints" else path.parent if path.name == "best" else path
        return f"{run}, {name}{after}"


class Document(Part):
    """A results document; each kind is a subclass with its own `FORMAT` and `FILE`."""

    FORMAT: ClassVar[str]
    FILE: ClassVar[str]

    format: str = ""
    version: int = VERSION
    created: str = ""
    """ISO time."""
    command: str = ""
    """The command line that made it."""
    versions: dict[str, str] = Field(default_factory=dict)
    title: str = ""
    description: str = ""
    model: Model | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    notices: tuple[str, ...] = ()
    protocol: Protocol = Field(default_factory=dict)
    """What all figures and tables depend on, where these do not say it themselves."""
    tables: tuple[Table, ...] = ()
    """Tables of the whole; a direction has its own."""
    directions: dict[str, Direction] = Field(default_factory=dict)
    """By `a2b`, `b2a`, or `folders` where folders of images were compared."""

    @model_validator(mode="before")
    @classmethod
    def _names_its_format(cls, content: Any) -> Any:
        return {"format": cls.FORMAT, **content} if isinstance(content, dict) else content

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures of all directions."""
        return tuple(
            picture for found in self.directions.values() for part in found.answers for picture in part.pictures
        )

    def to_json(self) -> str:
        """Return the document as JSON text without NaN."""
        return json.dumps(self.plain(), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"

    def plain(self) -> dict[str, Any]:
        """Return the document as dictionaries and sequences, also where a name is not valid Unicode."""
        return self.model_dump()  # pydantic's own JSON refuses such names

    def write(
        self, folder: Path, *, files: Mapping[str, str | bytes] | None = None, then: str = "run the command again"
    ) -> Path:
        """Write pictures, further `files` and document into a folder, in place of an earlier document of this kind.

        The JSON is written last and whole, so it never names a picture that is not there, and one process writes at a
        time, so it never names those of another. Returns its path. Raises `UserError` where a file is in the way that
        unpaired has not written.
        """
        contents: dict[str, str | bytes] = {each.file: each.content for each in self.pictures if each.content}
        folder = self.check_out(folder)
        with one_at_a_time(folder, then):
            self.check_out(folder, contents)  # earlier, another process may have written pictures and no document yet
            contents |= files or {}
            try:
                earlier = {picture.file for picture in type(self).read(folder).pictures if is_plain(picture.file)}
            except UserError:
                earlier = set()
            for name, content in contents.items():
                write_atomic(folder / name, content, then=then)
            write_atomic(folder / self.FILE, self.to_json(), then=then)
            for name in earlier - {picture.file for picture in self.pictures}:
                if name.endswith(".png"):
                    (folder / name).unlink(missing_ok=True)
        return folder / self.FILE

    @classmethod
    def check_out(cls, folder: Path, names: Iterable[str] = (), *, reads: Iterable[object] = ()) -> Path:
        """Return the folder of the results after `core.files.check_out`; `names` are the files beside the document."""
        return check_out(folder, replaces=[cls.FILE, *names], reads=reads, mark=cls.FORMAT)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder's document; raises `UserError` that says why where it cannot be read."""
        path = folder / cls.FILE
        content = read_json(path)
        if content.get("format") != cls.FORMAT:
            raise UserError(f"{path} is no document of format {cls.FORMAT}.")
        if content.get("version") != VERSION:
            raise UserError(
                f"{path} has version {content.get('version')!r}, this version of unpaired reads {VERSION}. "
                "Update unpaired, or measure again."
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path} is damaged ({place}: {first['msg']}).") from error


class Evaluation(Document):
    """What `unpaired evaluate` found."""

    FORMAT = "unpaired-evaluation"
    FILE = "evaluation.json"


class Audit(Document):
    """What `unpaired audit` found."""

    FORMAT = "unpaired-audit"
    FILE = "audit.json"


class Cost(Part):
    """What a training took."""

    seconds: Number
    images_per_second: Number
    parameters: int
    """Trained weights of all its networks."""
    device: str = ""
    peak_memory_bytes: int | None = None


class MeasuredTraining(Part):
    """One training of a comparison, measured in one direction."""

    name: str
    """Name of its run's folder."""
    seed: int
    checkpoint: str
    """Of the checkpoint that was measured, such as `000012000`."""
    figures: tuple[Figure, ...] = ()
    selected: tuple[Figure, ...] = ()
    """Figures of the checkpoint that was selected during training; empty where none was."""
    tables: tuple[Table, ...] = ()
    cost: Cost


class Published(Part):
    """Figures of a publication, measured on other data by another network."""

    values: dict[str, float]
    """By the names of figures."""
    mark: str = ""
    """How sure they are, such as `second-hand`; empty where they were read in the publication."""


class ComparedMethod(Part):
    """One entry of a comparison in one direction."""

    label: str
    method: str
    paired: bool = False
    """Whether it learns from pairs."""
    not_shared: tuple[str, ...] = ()
    """Shared networks that it replaces by its own: `generator`, `discriminator`."""
    trainings: tuple[MeasuredTraining, ...] = ()
    """One for each seed that is finished."""
    missing: tuple[str, ...] = ()
    """Why seeds are missing, one phrase each."""
    published: Published | None = None
    pictures: tuple[Picture, ...] = ()
    """Its translations of the sample images, of the first seed."""

    def mean(self, name: str, *, selected: bool = False) -> Figure | None:
        """Return the mean of a figure over seeds, of the last or the selected checkpoints; None where one lacks it.

        Its error is the standard error of the mean over seeds or, for one seed, that of the figure.
        """
        of = [each.selected if selected else each.figures for each in self.trainings]
        found = [figure for figures in of for figure in figures if figure.name == name]
        values = [figure.value for figure in found if figure.value is not None]
        if not values or len(values) < len(self.trainings):
            return None
        error = found[0].error if len(values) == 1 else statistics.stdev(values) / math.sqrt(len(values))
        return found[0].model_copy(update={"value": statistics.fmean(values), "error": error})


class ComparedDirection(Direction):
    """What was found of one direction of a comparison; the figures are those of its methods."""

    task: Literal["labels_to_photos", "photos_to_labels"] | None = None
    """What is compared by labels."""
    methods: tuple[ComparedMethod, ...] = ()
    inputs: tuple[Picture, ...] = ()
    """The sample images."""
    targets: tuple[Picture, ...] = ()
    """Their true images; empty where they are not known."""


class Comparison(Document):
    """What `unpaired compare` found."""

    FORMAT = "unpaired-comparison-results"
    FILE = "results.json"

    directions: dict[str, ComparedDirection] = Field(default_factory=dict)  # type: ignore[assignment]


GROUPS: dict[str, str] = {
    "distribution": "Do translations look like images of the target?",
    "paired": "Are they close to the true images?",
    "content": "Is the input's content kept?",
    "reconstruction": "Does the way back return the input?",
    "labels": "Are the labels right?",
    "audit": "Is the input hidden in the output?",
    "planted": "Do planted structures survive?",
    "classes": "Was content added or removed?",
}
"""The groups of figures in the order in which they are shown, each as the question that it answers."""


def made_now() -> dict[str, Any]:
    """Return what a new document says of its making: `created` and `versions`."""
    import torch

    versions = {"unpaired": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return {"created": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions}


def is_plain(name: str) -> bool:
    """Return whether a name is that of a file in the same folder."""
    return Path(name).name == name and name not in ("", "..") and "\0" not in name
