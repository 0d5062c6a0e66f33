"""What a model is evaluated with: its translators, its held-out images, and what the document says of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unpaired.core.errors import UserError
from unpaired.core.files import real_path
from unpaired.core.settings import option
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.data.directions import DIRECTIONS, heading, parse_direction, reverse, sides
from unpaired.data.held_out import Dataset, ImageSet, open_dataset
from unpaired.data.labels import Labels
from unpaired.data.training import SIDES
from unpaired.data.values import Domain
from unpaired.evaluation.dataset import Images, Row, Task
from unpaired.evaluation.options import HeldOutPart
from unpaired.evaluation.translations import Translators
from unpaired.methods import METHODS
from unpaired.models.engines import EngineChoice, Precision
from unpaired.models.folder import BEST, ModelCard, checkpoints_of, find_model, newest_checkpoint, read_card
from unpaired.models.loading import card_with_scale, load_generator, read_data_config, run_of, selected_on
from unpaired.models.sizing import TranslationSize
from unpaired.models.translator import Translator
from unpaired.report.results import Fact, Model

Progress = Callable[[str, int, int], None]


PARTS = {
    "report": "the report part, images that chose no checkpoint",
    "all": "all held-out images, which chose the best checkpoint too",
}
"""What is said of the held-out images of a training that chose its best checkpoint on some of them."""


@dataclass(frozen=True, kw_only=True)
class ModelInputs:
    """An opened model and the images that it is measured on."""

    folder: Path
    """The checkpoint or model folder."""
    run: Path | None
    """The run that it belongs to."""
    card: ModelCard
    translators: Mapping[str, Translator]
    computing: Mapping[str, Any]
    """Where and how exactly the translators compute, and at which size."""
    steps: int | None
    """How many steps of a model of several were asked for."""
    directions: tuple[str, ...]
    """Those that are measured; there may be translators of others for the way back."""
    dataset: Dataset
    config: DataConfig
    """How the images were prepared."""
    model: Model
    """What the results say of the model."""
    data: dict[str, Any]
    """What the results say of the images."""
    notices: tuple[str, ...]

    def ways(self, direction: str) -> Translators:
        """Return the translator of a direction, and that of the way back; none for a search, which takes too long."""
        forward = self.translators[direction]
        searches = forward.search is not None
        return Translators(forward=forward, backward=None if searches else self.translators.get(reverse(direction)))

    def facts(self, direction: str) -> dict[str, Fact]:
        """Return what figures of a direction depend on beside the images."""
        translator = self.translators[direction]
        return {
            "checkpoint": self.model.checkpoint,
            **({"part": PARTS[self.data["part"]]} if "part" in self.data else {}),
            "translated_at": str(translator.sizing),
            **({"steps": self.steps} if self.steps is not None else {}),
            "engine": str(translator.engine),
            "device": str(translator.device),
        }

    def last(self) -> Path | None:
        """Return the last checkpoint of the run where this is the best one, and another."""
        if self.run is None or self.folder.name != BEST or not checkpoints_of(self.run):
            return None
        last, _ = newest_checkpoint(self.run, to_translate=True)
        return None if read_card(last).images_seen == self.card.images_seen else last

    def at(self, folder: Path) -> ModelInputs:
        """Return the same with the translators of another checkpoint of the run."""
        card = card_with_scale(folder)
        translators, _ = _translators(folder, [*self.translators], self.computing, self.steps)
        model = self.model.model_copy(update={"checkpoint": real_path(folder).name, "images_seen": card.images_seen})
        return replace(self, folder=folder, card=card, translators=translators, model=model)

    def task(self, direction: str, images: int | None = None) -> Task:
        """Return what a direction is measured on: at most so many images of each domain, spread evenly."""
        return model_task(direction, self.dataset, self.config, self.card.domains, images)


def open_model(
    model: str | Path,
    *,
    checkpoint: str | int | None = None,
    data: str | Path | None = None,
    direction: str = "both",
    size: tuple[int, int] | None = None,
    translate_size: TranslationSize | str | None = None,
    steps: int | None = None,
    on_bad_image: Any = None,
    max_pixels: int | None = None,
    back: bool = True,
    part: HeldOutPart = "report",
    device: str = "auto",
    engine: EngineChoice = "torch",
    precision: Precision = "fp32",
    progress: Progress | None = None,
) -> ModelInputs:
    """Open a run, checkpoint or model folder and find its held-out images.

    Images are prepared as in training or, with `size`, to that size; `translate_size` is the `size` of
    `Translator.load`, and `steps` are those of it.
    `direction` names one or `both` that the model has; `back` opens the other directions too, for reconstructions.
    `part` says which of the held-out images are taken where a training chose its best checkpoint on some of them.
    Raises `UserError` where there is no such model or direction, where there are no images, where they are bad, or do
    not fit the model.
    """
    folder, notices = find_model(model, checkpoint)
    card = card_with_scale(folder)
    there = [name for name in DIRECTIONS if name in card.translators]
    measured = there if direction == "both" else [parse_direction(direction, card.domains)]
    computing: dict[str, Any] = {"device": device, "engine": engine, "precision": precision, "size": translate_size}
    names = list(dict.fromkeys([*measured, *(there if back else [])]))
    translators, fingerprints = _translators(folder, names, computing, steps)
    run = run_of(folder)
    dataset, config = open_model_data(
        folder, card, data=data, size=size, on_bad_image=on_bad_image, max_pixels=max_pixels, progress=progress
    )
    dataset, taken = part_of(dataset, [folder], part)
    root = str(data) if data is not None else config.root or f"{config.a} and {config.b}"
    return ModelInputs(
        folder=folder,
        run=run,
        card=card,
        translators=translators,
        computing=computing,
        steps=steps,
        directions=tuple(measured),
        dataset=dataset,
        config=config,
        model=Model(
            path=str(model),
            checkpoint=real_path(folder).name,
            images_seen=card.images_seen,
            method=card.method,
            origin=card.origin or "",
            fingerprints=fingerprints,
        ),
        data={"root": root, **_about(dataset, taken), "run": None if run is None else str(run)},
        notices=(*notices, *dataset.notices),
    )


def _about(dataset: Dataset, part: HeldOutPart | None) -> dict[str, Any]:
    """Return what the results say of the held-out images."""
    test = dataset.test
    return {
        "split": test.taken_from,
        **({} if part is None else {"part": part}),
        "images": {"a": len(test.a), "b": len(test.b)},
        "contents": {"a": test.contents("a"), "b": test.contents("b")},
        "layout": dataset.layout,
    }


def _translators(
    folder: Path, names: Sequence[str], computing: Mapping[str, Any], steps: int | None
) -> tuple[dict[str, Translator], dict[str, str]]:
    loaded = {name: load_generator(folder, name, steps=steps) for name in names}
    fingerprints = {name: one.fingerprint for name, one in loaded.items()}
    translators = {
        name: Translator(one.network, one.card, one.direction, fingerprint=one.fingerprint, **computing)
        for name, one in loaded.items()
    }
    return translators, fingerprints


def part_of(
    dataset: Dataset, checkpoints: Iterable[Path], part: HeldOutPart = "report"
) -> tuple[Dataset, HeldOutPart | None]:
    """Return the data with a part of its held-out images, and which that is; None where no checkpoint tells.

    The report part is what chose none of the checkpoints' trainings; where nothing is left of it, all are taken.
    """
    found = [each for each in map(selected_on, checkpoints) if each is not None]
    chose = [each.digests for each in found if each.digests is not None]
    if dataset.test.taken_from == "train":
        return dataset, None
    if any(each.digests is None and each.contents == dataset.contents for each in found):
        return dataset, "all"
    if not chose:
        return dataset, None
    every = {side: frozenset[bytes]().union(*(each[side] for each in chose)) for side in SIDES}
    test = dataset.test.without(every) if part == "report" else None
    return (dataset, "all") if test is None else (replace(dataset, test=test), part)


def open_model_data(
    folder: Path,
    card: ModelCard,
    *,
    data: str | Path | None = None,
    size: tuple[int, int] | None = None,
    on_bad_image: Any = None,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> tuple[Dataset, DataConfig]:
    """Find the held-out images that a model is measured on, prepared as in its training; return them and the settings.

    Raises `UserError` where there are none, where they are bad, or do not fit the model.
    """
    run = run_of(folder)
    paired = card.paired if card.paired is not None else card.method in METHODS and METHODS[card.method].paired
    if run is not None:
        config = read_data_config(run)
    elif data is None:
        raise UserError(f"{option('data')} is missing: {folder} belongs to no run, so its images are not known.")
    else:
        config = DataConfig(preprocess="none") if card.scale is None else card.scale.settings
    if data is not None:
        root, a, b = _places(Path(data), config)
        config = replace(config, root=root, a=a, b=b, test_a=None, test_b=None)
    if size is not None:
        config = replace(config, preprocess="resize_and_crop", crop_size=size, load_size=None)
    if on_bad_image is not None:
        config = replace(config, on_bad_image=on_bad_image)
    if max_pixels is not None:
        config = replace(config, max_pixels=max_pixels)
    config = _as_the_model_sees(config, card)
    dataset = open_dataset(config, paired=paired, size_multiple=1 if run is None else 4, progress=progress)
    if data is not None and config.root is None:
        dataset = replace(dataset, test=replace(dataset.test, taken_from="test"))
    return dataset, config


def model_task(
    direction: str,
    dataset: Dataset,
    config: DataConfig,
    domains: Mapping[Any, Domain],
    images: int | None,
) -> Task:
    """Return what one direction is measured on: at most so many held-out images of each domain, spread evenly."""
    source, target = sides(direction)
    test = dataset.test
    at = "" if dataset.size is None else f" {dataset.size[0]} x {dataset.size[1]}"
    prepared = f"{config.preprocess}{at}: {dataset.part}"
    positions = test.positions(source, images)
    if test.pairs:
        reference = [partner for _, partner in positions if partner is not None]
    else:
        reference = [position for position, _ in test.positions(target, images)]
    return Task(
        direction=direction,
        heading=heading(direction, domains),
        target_name=domains[target].title(target),
        inputs=_images(test.of(source), domains[source], [position for position, _ in positions], prepared),
        fakes=None,
        real=_images(test.of(target), domains[target], reference, prepared),
        rows=tuple(Row(position, None, partner) for position, partner in positions),
        split=test.taken_from,
    )


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
        unit_a=a.unit,
        unit_b=b.unit,
    )


def _labels_setting(labels: Labels | None) -> LabelsConfig | None:
    if labels is None:
        return None
    return LabelsConfig(
        kind=labels.kind, palette=labels.palette, names=labels.names, void=labels.void, feed=labels.feed
    )


def _images(images: ImageSet, domain: Domain, positions: Sequence[int], prepared: str) -> Images:
    return Images(
        source=images,
        domain=domain,
        files=images.files,
        sizes=images.sizes,
        positions=tuple(positions),
        prepared=prepared,
    )
