"""Batches of translations, made by a model or read from a folder, as files hold them."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unpaired.data.held_out import ImageSet
from unpaired.data.values import Domain, Image, Signed
from unpaired.evaluation.dataset import Batch, Images, Row, Size, Task
from unpaired.evaluation.protocol import Protocol
from unpaired.models.engines.base import NotFiniteError
from unpaired.models.translation import Translation


class Translates(typing.Protocol):
    """What an evaluation asks of a translator; `unpaired.models.translator.Translator` is one."""

    @property
    def target(self) -> Domain:
        """What the translations mean."""
        ...

    def translate_images(self, images: Sequence[Image], batch_size: int = ...) -> list[Translation]:
        """Translate images as sources give them, [H, W, C]."""
        ...

    def translate_values(self, values: Sequence[Signed], batch_size: int = ...) -> list[Translation]:
        """Translate arrays [H, W, C] in [-1, 1]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Translators:
    """The translator of a direction and, where there is one, that of the way back."""

    forward: Translates
    backward: Translates | None = None


def batches(task: Task, translators: Translators | None, protocol: Protocol, *, back: bool = True) -> Iterator[Batch]:
    """Yield all translations of a task in order, in batches of one size; memory holds one of them.

    `back` asks for reconstructions where there is a way back. Raises `NotFiniteError`.
    """

    done = 0
    for rows in _groups(task, protocol):
        yield _read(task, rows, done) if translators is None else _translate(task, rows, done, translators, back)
        done += len(rows)


def _groups(task: Task, protocol: Protocol) -> Iterator[list[Row]]:
    """Yield neighbouring rows whose images have one size, as many as the protocol allows."""
    group, last, most = list[Row](), None, 0
    for row in task.rows:
        sizes = _size(task.fakes, row.fake), _size(task.inputs, row.input)
        if group and (sizes != last or len(group) >= most):
            yield group
            group = []
        height, width = sizes[0] or sizes[1] or (1, 1)
        if task.fakes is None and task.inputs is not None and task.inputs.files and row.input is not None:
            info = task.inputs.files[row.input]  # whole images are translated
            height, width = max(height, info.height), max(width, info.width)
        most = max(1, min(protocol.batch_size, protocol.batch_pixels // (height * width)))
        group.append(row)
        last = sizes
    if group:
        yield group


def _size(images: Images | None, position: int | None) -> Size | None:
    return None if images is None or position is None else images.sizes[position]


def _read(task: Task, rows: Sequence[Row], first: int) -> Batch:
    assert task.fakes is not None
    positions = [row.fake for row in rows if row.fake is not None]
    inputs = [row.input for row in rows if row.input is not None]
    return Batch(
        task=task,
        rows=tuple(rows),
        first=first,
        names=tuple(map(task.fakes.name, positions)),
        fake_images=tuple(task.fakes.source[position] for position in positions),
        fake_domain=task.fakes.domain,
        input_images=None if task.inputs is None else tuple(task.inputs.source[position] for position in inputs),
    )


def _translate(task: Task, rows: Sequence[Row], first: int, translators: Translators, back: bool) -> Batch:
    """Translate images as a user's files hold them, and bring everything to the size at which it is measured."""
    assert task.inputs is not None
    source, domain = task.inputs.source, task.inputs.domain
    positions = [row.input for row in rows if row.input is not None]
    names = tuple(map(task.inputs.name, positions))

    def fitted(images: Sequence[Image], domain: Domain) -> tuple[Image, ...]:
        return tuple(source.fitted(image, domain) if isinstance(source, ImageSet) else image for image in images)

    images = [source.whole(place) if isinstance(source, ImageSet) else source[place] for place in positions]
    fakes = translators.forward.translate_images(images, len(images))
    if (broken := _not_finite(fakes, names)) is not None:
        raise NotFiniteError(
            f"the model's translation of {broken} holds values that are not finite (NaN or infinity), so nothing can "
            "be measured. Take an earlier checkpoint."
        )
    reconstructions = not_finite = None
    if back and translators.backward is not None:
        returned = translators.backward.translate_values([one.values for one in fakes], len(fakes))
        not_finite = _not_finite(returned, names)
        reconstructions = None if not_finite else fitted([one.image for one in returned], domain)
    return Batch(
        task=task,
        rows=tuple(rows),
        first=first,
        names=names,
        fake_images=fitted([one.image for one in fakes], translators.forward.target),
        fake_domain=translators.forward.target,
        input_images=fitted(images, domain),
        reconstruction_images=reconstructions,
        not_finite=not_finite,
    )


def _not_finite(translations: Sequence[Translation], names: Sequence[str]) -> str | None:
    return next(
        (name for one, name in zip(translations, names, strict=True) if not np.isfinite(one.values).all()), None
    )
