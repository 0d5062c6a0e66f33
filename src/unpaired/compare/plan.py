"""The plan of a comparison: a TOML file that names the methods, what they share, and how much each may see.

title = "CycleGAN and CUT"
images = 100_000
seeds = [0, 1, 2]

[data]          # settings of the data, for all
crop_size = 128

[method]        # settings of the method, for every entry whose method has them
generator = { family = "resnet", blocks = 6 }

[[entries]]
label = "CycleGAN"
method = { name = "cyclegan", identity_weight = 0 }
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from unpaired.configs import find_config, shipped, suggestion
from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.extensions import is_spec, named_extensions
from unpaired.core.given import Given, Joined, flatten, read_document
from unpaired.core.settings import Count, Settings
from unpaired.methods import Direction

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[str, Field(min_length=1)]
Task = Literal["labels_to_photos", "photos_to_labels"]

INPUT, TRUTH = RESERVED = ("input", "ground truth")
"""Columns of the pictures beside those of the entries."""
_CODE = frozenset({"readers", "source_a", "source_b", "test_source_a", "test_source_b"})
"""Settings of the data that name code; beside them a method's name, a family and `evaluate_features`."""
DIRECTIONS: tuple[Direction, Direction] = ("a2b", "b2a")


class Published(Settings):
    """Figures of a publication, to stand beside ours: other data, another scorer."""

    task: Task
    """Which way they were measured."""
    pixel_accuracy: Share
    class_accuracy: Share
    class_iou: Share
    mark: Literal["read", "second-hand", "recalled"] = "read"
    """How sure they are: read in the publication, in another text that quotes it, or remembered and not confirmed."""


class SegmenterSettings(Settings):
    """How the network is trained that labels photos."""

    images: Count = 20_000
    """Training images that it sees."""
    width: Annotated[int, Field(ge=1, le=4096)] = 16
    """Channels of its first level; they double from level to level."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 8
    """Images per step."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's first learning rate; it falls to zero along a cosine."""
    seed: Seed = 0
    """Of its weights and of the order of its images."""


class Entry(Settings):
    """One method of the comparison, with the settings that are its own."""

    label: Annotated[str, Field(min_length=1, max_length=40)]
    """What tables and pictures call it."""
    config: str | None = None
    """A configuration of a run to begin with: a file, or the name of a shipped one."""
    method: dict[str, Any] = field(default_factory=dict)
    """The method's `name` and settings."""
    training: dict[str, Any] = field(default_factory=dict)
    """Settings of the training that differ from the others', such as a batch size."""
    published: tuple[Published, ...] = ()
    """What the publication reports of it."""

    @property
    def slug(self) -> str:
        """The label as a part of file names."""
        return re.sub(r"[^a-z0-9]+", "-", self.label.lower()).strip("-")


class Plan(Settings):
    """What is compared with what, and how."""

    title: Words
    """Heading of the table and the page."""
    description: str = ""
    """A sentence or two below it."""
    source: str = ""
    """Where the published figures stand."""
    images: Count
    """Training images that every translator sees."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """Every method is trained once with each."""
    directions: Annotated[tuple[Direction, ...], Field(min_length=1)] = DIRECTIONS
    """Which way is compared."""
    test_images: Count | None = None
    """Held-out images that are translated and measured; None means all."""
    pictures: Annotated[int, Field(ge=1, le=1000)] = 8
    """Rows of pictures of each direction."""
    segmenter: SegmenterSettings = SegmenterSettings()
    """The network that labels photos, where there are labels."""
    fcn: Words | None = None
    """Folder of a segmenter of `unpaired segment train` that labels photos in its place."""
    data: dict[str, Any] = field(default_factory=dict)
    """Settings of the data, for all."""
    method: dict[str, Any] = field(default_factory=dict)
    """Settings of the method, for every entry whose method has them."""
    training: dict[str, Any] = field(default_factory=dict)
    """Settings of the training, for all."""
    entries: Annotated[tuple[Entry, ...], Field(min_length=1)]

    def check(self) -> None:
        """Refuse what cannot be distinguished."""
        for what, values in (("seeds", self.seeds), ("directions", self.directions)):
            if len(set(values)) < len(values):
                raise UserError(f"{what} are named more than once: {list(values)}.")
        slugs = [entry.slug for entry in self.entries]
        for entry in self.entries:
            if entry.label in RESERVED:
                raise UserError(f'the label "{entry.label}" is that of a column of the pictures. Choose another one.')
            if not entry.slug or slugs.count(entry.slug) > 1:
                raise UserError(
                    f'the label "{entry.label}" is like another one in file names. Labels differ in '
                    "letters (a to z) or digits."
                )
            if "name" not in entry.method and entry.config is None:
                raise UserError(f'the entry "{entry.label}" has no method: give it method = {{ name = "cyclegan" }}.')

    def labels_in(self, text: str) -> list[str]:
        """Split labels joined by commas, which a label may hold itself; unknown parts are kept as they are."""
        known = {name for entry in self.entries for name in (entry.slug, entry.label)}
        parts, found = text.split(","), list[str]()
        while parts:
            joined = {count: ",".join(parts[:count]).strip() for count in range(len(parts), 0, -1)}
            count = next((count for count, name in joined.items() if name in known), 1)
            found.append(joined[count])
            parts = parts[count:]
        return found

    def chosen(self, labels: Sequence[str]) -> tuple[Entry, ...]:
        """Return the entries of these labels (or all, for none); raises `UserError` for a label that is not there."""
        known = {name: entry for entry in self.entries for name in (entry.slug, entry.label)}
        unknown = [label for label in labels if label not in known]
        if unknown:
            names = [entry.label for entry in self.entries]
            raise UserError(
                f"--only {unknown[0]}: there is no such entry.{did_you_mean(unknown[0], known)} "
                f"Entries: {', '.join(names)}."
            )
        wanted = {known[label].slug for label in labels}
        return tuple(entry for entry in self.entries if not labels or entry.slug in wanted)


def refuse_code(values: Any, named: str, place: str = "") -> None:
    """Raise `UserError` where a plan or a configuration names code that the user has not named (`--extension`)."""
    if isinstance(values, Mapping | list):
        inner = values.items() if isinstance(values, Mapping) else enumerate(values)
        for name, value in inner:
            refuse_code(value, named, f"{place}.{name}".lstrip("."))
    parts = place.split(".")
    names_code = parts[-2:] == ["method", "name"] or {"family", "evaluate_features"} & set(parts) or _CODE & set(parts)
    if not names_code or not isinstance(values, str) or values in named_extensions():
        return
    if is_spec(values):
        raise UserError(
            f"{named}: {place} names code of its own, {values}, and code that only a file names is not run. If you "
            f"trust it, name it: --extension {values}."
        )
    if values.lower().endswith(".pt2"):
        raise UserError(
            f"{named}: {place} names the program {values}, and code that only a file names is not run. If you trust "
            f"it, leave it out there and name it: --set training.evaluate_features={values}."
        )


def read_plan(named: str | Path, changes: Mapping[str, Any] | None = None) -> Plan:
    """Read a plan: a TOML file, or the shipped one of that name (`paper`, `paper.toml`, `configs/paper.toml`).

    `changes` take the place of its values: `{"images": 1000, "segmenter.width": 16}`. Raises `UserError` that says what
    is wrong, what was received and what is allowed.
    """
    path = find_config(named)
    if path is None:
        raise UserError(f"{named}: there is no such plan of a comparison.{suggestion(named, 'plan')}")
    document = read_document(path, str(named))
    if "entries" not in document:
        raise UserError(
            f"{named}: this is not the plan of a comparison, it has no [[entries]]. Shipped plans: "
            f"{', '.join(shipped('plan'))}."
        )
    refuse_code(document, str(named))
    joined = Joined([Given(flatten(document), "{name}"), Given(changes or {}, "{name}")])
    try:
        plan: Plan = joined.build(Plan, "", of="a plan")
    except UserError as error:
        raise UserError(f"{named}: {error}") from error
    return plan
