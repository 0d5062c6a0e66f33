"""The translations of an evaluation, a batch at a time: made by a model or read from a folder, as files hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.data.held_out import truth_of
from unpaired.data.labels import classes_of, fed
from unpaired.data.transforms import resize, resize_nearest
from unpaired.data.values import Domain, Image, from_signed, to_signed
from unpaired.evaluation.dataset import Pictures, Row, Task
from unpaired.models.translator import Translator

Told = Callable[[int, int], None]
"""Called with how many images are done, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translators:
    """The way forth and, where there is one, the way back."""

    forth: Translator
    back: Translator | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some translations of one size, and what belongs to them; tensors are [N, C, H, W] in [-1, 1]."""

    rows: tuple[Row, ...]
    names: tuple[str, ...]
    """File name of each input, or of each translation where there are no inputs."""
    images: tuple[Image, ...]
    """The translations as their files hold them, [H, W, C]."""
    made: Tensor
    """The same as a tensor."""
    input_images: tuple[Image, ...] | None
    inputs: Tensor | None
    returned: Tensor | None
    """What the way back makes of the translations, which are not rounded in between; itself in levels of a file."""


def batches(task: Task, translators: Translators | None, batch_size: int, told: Told | None = None) -> Iterator[Batch]:
    """Yield all translations of a task in order, in batches of one size; memory holds one of them."""
    done, total = 0, len(task.rows)
    for rows in _groups(task, batch_size):
        batch = _read(task, rows) if translators is None else _translate(task, rows, translators)
        yield batch
        done += len(rows)
        if told is not None:
            told(done, total)


def image_batches(pictures: Pictures, size: tuple[int, int], batch_size: int) -> Iterator[Tensor]:
    """Yield a set of images brought to one size, [N, C, H, W] in [-1, 1]."""
    for start in range(0, len(pictures.positions), batch_size):
        part = pictures.positions[start : start + batch_size]
        yield at_size([pictures.image(position) for position in part], pictures.domain, size)


def at_size(images: Sequence[Image], domain: Domain, size: tuple[int, int]) -> Tensor:
    """Return images [H, W, C] of any sizes at one size, [N, C, H, W] in [-1, 1]; label maps by the nearest pixel."""
    return torch.stack([signed(_resized(image, domain, size), domain) for image in images])


def _resized(image: Image, domain: Domain, size: tuple[int, int]) -> Image:
    if domain.labels is None:
        return resize(image, size)
    return fed(resize_nearest(truth_of(image, domain.labels), size), domain.labels)


def signed(image: Image, domain: Domain) -> Tensor:
    """Return an image [H, W, C] as networks see it, [C, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(to_signed(image, domain.range).transpose(2, 0, 1)))


def as_file(values: Tensor, domain: Domain) -> Image:
    """Return a translation [C, H, W] in [-1, 1] as its file would hold it: in levels; label maps in their classes."""
    image = from_signed(values.permute(1, 2, 0).numpy(), domain)
    return image if domain.labels is None else fed(classes_of(image, domain.labels), domain.labels)


def _groups(task: Task, batch_size: int) -> Iterator[tuple[Row, ...]]:
    """Yield neighbouring rows whose images have one size, at most `batch_size` together."""
    group, last = list[Row](), None
    for row in task.rows:
        size = _size(task, row)
        if group and (size != last or len(group) == batch_size):
            yield tuple(group)
            group = []
        group.append(row)
        last = size
    if group:
        yield tuple(group)


def _size(task: Task, row: Row) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    made = None if task.made is None or row.made is None else task.made.sizes[row.made]
    return made, None if task.inputs is None or row.input is None else task.inputs.sizes[row.input]


def _inputs(task: Task, rows: Sequence[Row]) -> tuple[tuple[Image, ...], tuple[str, ...]] | None:
    if task.inputs is None:
        return None
    positions = [row.input for row in rows if row.input is not None]
    return tuple(map(task.inputs.image, positions)), tuple(map(task.inputs.name, positions))


def _read(task: Task, rows: tuple[Row, ...]) -> Batch:
    assert task.made is not None
    made, given = task.made, _inputs(task, rows)
    positions = [row.made for row in rows if row.made is not None]
    images = tuple(map(made.image, positions))
    return Batch(
        rows=rows,
        names=tuple(map(made.name, positions)),
        images=images,
        made=torch.stack([signed(image, made.domain) for image in images]),
        input_images=None if given is None else given[0],
        inputs=None if given is None or task.inputs is None else _stacked(given[0], task.inputs.domain),
        returned=None,
    )


def _translate(task: Task, rows: tuple[Row, ...], translators: Translators) -> Batch:
    given = _inputs(task, rows)
    assert given is not None
    assert task.inputs is not None
    x = _stacked(given[0], task.inputs.domain)
    y = translators.forth.translate_tensor(x)
    if not bool(y.isfinite().all()):
        raise UserError(
            f"the model's translation of {given[1][int((~y.isfinite()).flatten(1).any(1).nonzero()[0])]} holds values "
            "that are not finite (NaN or infinity), so nothing can be measured. Take an earlier checkpoint."
        )
    target = translators.forth.target
    images = tuple(as_file(one, target) for one in y)
    returned = None
    if translators.back is not None:
        source = translators.back.target
        back = translators.back.translate_tensor(y)
        returned = torch.stack([signed(from_signed(one.permute(1, 2, 0).numpy(), source), source) for one in back])
    return Batch(
        rows=rows,
        names=given[1],
        images=images,
        made=_stacked(images, target),
        input_images=given[0],
        inputs=x,
        returned=returned,
    )


def _stacked(images: Sequence[Image], domain: Domain) -> Tensor:
    return torch.stack([signed(image, domain) for image in images])
