"""The images of an evaluation: inputs, real images of the target, and the translations that are compared with them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from unpaired.core.errors import UserError
from unpaired.data.check import ImageInfo
from unpaired.data.config import DataConfig
from unpaired.data.held_out import HeldOut, Side, open_held_out
from unpaired.data.labels import Labels
from unpaired.data.labels_config import LabelsConfig
from unpaired.data.source import ImageSource
from unpaired.data.training import Progress
from unpaired.data.transforms import prepared_size
from unpaired.data.values import Domain, Image
from unpaired.evaluation.options import Options
from unpaired.methods import METHODS
from unpaired.models.folder import CHECKPOINTS, ModelCard
from unpaired.training.settings import read_file, resolve

CONFIG = "config.json"
Split = Literal["test", "train", "folder"]
SPLITS: dict[Split, str] = {"test": "test images", "train": "training images", "folder": "images"}
FILTER = "bicubic, antialiased (Pillow)"
"""How images are brought to a size, whatever for; Inception resizes once more, and says how."""
NEAREST = "nearest pixel"
"""How label maps are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """One set of images."""

    source: ImageSource
    domain: Domain
    files: tuple[ImageInfo, ...]
    sizes: tuple[tuple[int, int], ...]
    """(height, width) of every image as `source` gives it."""
    positions: tuple[int, ...]
    """Those that are measured."""
    prepared: str
    """What was done with them, in words."""

    def contents(self) -> str:
        """Return a digest of what the measured files hold, in order, wherever they lie."""
        digest = hashlib.blake2b(digest_size=16)
        for position in self.positions:
            digest.update(self.files[position].digest)
        return digest.hexdigest()

    def formats(self) -> str:
        """Return the files' formats, by content: `JPEG (118), PNG (2)`."""
        counts = Counter(_format(self.files[position].path) for position in self.positions)
        if len(counts) == 1:
            return next(iter(counts))
        return ", ".join(f"{name} ({count:,})" for name, count in counts.most_common())

    def image(self, position: int) -> Image:
        """Return one image, [H, W, C] in its own dtype."""
        return self.source[position]

    def name(self, position: int) -> str:
        """Return the file's name as a person knows it."""
        return Path(self.source.name(position)).name


class Row(NamedTuple):
    """One translation: positions of its input, of itself in its folder, and of the true image; None where unknown."""

    input: int | None
    made: int | None
    true: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one direction is measured on."""

    direction: str
    """`a2b`, `b2a` or `folders`."""
    heading: str
    inputs: Pictures | None
    made: Pictures | None
    """Translations that lie in a folder; None where a model makes them of the inputs."""
    real: Pictures
    rows: tuple[Row, ...]
    split: Split
    size: tuple[int, int]
    """(height, width) at which sets of images are compared."""
    resized: bool
    """Whether some images have to be brought to that size for it."""

    @property
    def has_truth(self) -> bool:
        """Whether the true image of every translation is known."""
        return all(row.true is not None for row in self.rows)


# -------------------------------------------------------------------------------------------------------- of a model


def run_of(folder: Path) -> Path | None:
    """Return the run that a checkpoint belongs to (`RUN/checkpoints/NAME`, `RUN/best`), or None."""
    above = folder.resolve().parent
    run = above.parent if above.name == CHECKPOINTS else above
    return run if (run / CONFIG).is_file() and (above.name == CHECKPOINTS or folder.resolve().name == "best") else None


def open_model_data(
    folder: Path, card: ModelCard, options: Options, progress: Progress | None
) -> tuple[HeldOut, DataConfig]:
    """Find the held-out images that a model is measured on, prepared as in its training; return them and the settings.

    Raises `UserError` where there are none, where they are bad, or do not fit the model.
    """
    run = run_of(folder)
    paired = card.method in METHODS and METHODS[card.method].paired
    if run is not None:
        config = resolve([read_file(run / CONFIG)]).data
    elif options.data is None:
        raise UserError(f"--data is missing: {folder} belongs to no run, so its images are not known.")
    else:
        config = DataConfig(preprocess="none")
    if options.data is not None:
        root, a, b = _places(Path(options.data), config)
        config = replace(config, root=root, a=a, b=b, test_a=None, test_b=None)
    if options.size is not None:
        config = replace(config, preprocess="resize_and_crop", crop_size=options.size, load_size=None)
    if options.on_bad_image is not None:
        config = replace(config, on_bad_image=options.on_bad_image)
    config = _as_the_model_sees(config, card)
    held_out = open_held_out(config, paired=paired, size_multiple=1 if run is None else 4, progress=progress)
    if options.data is not None and config.root is None:
        held_out = replace(held_out, taken_from="test")
    return held_out, config


def model_task(
    direction: str, held_out: HeldOut, config: DataConfig, card: ModelCard, options: Options, size_multiple: int
) -> Task:
    """Return what one direction of a model is measured on."""
    source, target = _sides(direction)
    sets = {side: _pictures(held_out, side, config, card.domains[side], size_multiple) for side in ("a", "b")}
    positions = held_out.images.positions(source, options.images)
    inputs = replace(sets[source], positions=tuple(position for position, _ in positions))
    if held_out.images.pairs:
        reference = [partner for _, partner in positions if partner is not None]
    else:
        reference = [position for position, _ in held_out.images.positions(target, options.images)]
    real = replace(sets[target], positions=tuple(reference))
    size, resized = common_size(inputs, real)
    return Task(
        direction=direction,
        heading=f"{source.upper()} to {target.upper()}",
        inputs=inputs,
        made=None,
        real=real,
        rows=tuple(Row(position, None, partner) for position, partner in positions),
        split=held_out.taken_from,
        size=size,
        resized=resized,
    )


def common_size(made: Pictures, real: Pictures) -> tuple[tuple[int, int], bool]:
    """Return the size that most translations have, and whether there are images of another one."""
    counts = Counter(made.sizes[position] for position in made.positions)
    size = counts.most_common(1)[0][0]
    others = len(counts) > 1 or any(real.sizes[position] != size for position in real.positions)
    return size, others


def _sides(direction: str) -> tuple[Side, Side]:
    return ("a", "b") if direction == "a2b" else ("b", "a")


_TESTS_ALONE = (("testA", "testB"), ("test/A", "test/B"), ("testannot", "test"))


def _places(root: Path, config: DataConfig) -> tuple[str | None, str | None, str | None]:
    """Return `root`, `a` and `b`: ROOT, or its two folders of test images where it holds no others."""
    if config.side_by_side is None:
        for a, b in _TESTS_ALONE:
            trained_on = [root / name.replace("test", "train") for name in (a, b)]
            if (root / a).is_dir() and (root / b).is_dir() and not any(folder.is_dir() for folder in trained_on):
                return None, str(root / a), str(root / b)
    return str(root), None, None


def _as_the_model_sees(config: DataConfig, card: ModelCard) -> DataConfig:
    """Return the settings with channels, ranges and label maps as the model knows them."""
    a, b = card.domains["a"], card.domains["b"]
    return replace(
        config,
        labels_a=_labels_setting(a.labels),
        labels_b=_labels_setting(b.labels),
        channels_a=None if a.labels else a.channels,
        channels_b=None if b.labels else b.channels,
        range_a=None if a.labels else a.range,
        range_b=None if b.labels else b.range,
    )


def _labels_setting(labels: Labels | None) -> LabelsConfig | None:
    if labels is None:
        return None
    return LabelsConfig(
        kind=labels.kind, palette=labels.palette, names=labels.names, void=labels.void, feed=labels.feed
    )


def _pictures(held_out: HeldOut, side: Side, config: DataConfig, domain: Domain, size_multiple: int) -> Pictures:
    files: Sequence[ImageInfo] = held_out.files[side]
    sizes = [
        held_out.size or prepared_size(info.height, info.width, config, size_multiple=size_multiple) for info in files
    ]
    at = "" if held_out.size is None else f" {held_out.size[0]} x {held_out.size[1]}"
    return Pictures(
        source=held_out.images.of(side),
        domain=domain,
        files=tuple(files),
        sizes=tuple(sizes),
        positions=tuple(range(len(files))),
        prepared=f"{config.preprocess}{at}: {held_out.part}",
    )


def _format(path: Path) -> str:
    """Return a file's format by its first bytes, else by its suffix."""
    with path.open("rb") as stream:
        head = stream.read(8)
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "PNG" if head.startswith(b"\x89PNG") else path.suffix[1:].upper()
