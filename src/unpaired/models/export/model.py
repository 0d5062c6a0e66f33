"""`unpaired export`: from a model to a file for another runtime, checked before it is there."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from unpaired import __version__
from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.files import locked, means_full_disk, remove, require_outside
from unpaired.core.settings import option
from unpaired.core.text import printable
from unpaired.data.values import domain_to_json
from unpaired.models.exactness import Exactness, Run, compare, fixed_pictures, reference
from unpaired.models.export.formats import Format, find_format, load_format
from unpaired.models.folder import checkpoint_title
from unpaired.models.graph import INPUT, OUTPUT
from unpaired.models.loading import Loaded, load_generator
from unpaired.models.padding import pad_to
from unpaired.networks import Generator

ExportPrecision = Literal["fp32", "int8"]
_DRAFTS = ".unpaired-export-"
"""Beginning of the names of folders for files that are not finished."""
TOLERANCE = 1e-3
"""Largest difference from float32 PyTorch that an exported file may have, an eighth of a step of 8-bit images."""
SIZES = ((1, 1), (1, 9), (37, 50), (64, 48), (96, 131))
"""(height, width) of the pictures: one pixel, narrower than the padding, odd, matching, larger."""
_MILLIONTH = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written."""

    files: list[Path]
    """What belongs together; the last one is the file that was asked for."""
    format: str
    """What the format is called."""
    source: str
    """Which checkpoint or model was written."""
    precision: ExportPrecision
    exactness: Exactness
    """Compared with float32 PyTorch: at sizes of every kind, or, for int8, on images not used for calibration."""
    measured_on: int
    """Images on which that was measured."""

    def __str__(self) -> str:
        size = sum(path.stat().st_size for path in self.files) / 1e6
        kept_out = " that were not used for calibration" if self.precision == "int8" else " of different sizes"
        return (
            f"{self.files[-1]}: {self.source}, {self.format}, {self.precision}, {size:.1f} MB, takes images of any "
            f"size; {self.exactness}, measured on {self.measured_on} images{kept_out}."
        )


def export_model(
    model: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    direction: str | None = None,
    checkpoint: str | int | None = None,
    steps: int | None = None,
    seed: int | None = None,
    precision: ExportPrecision = "fp32",
    calibrate: str | Path | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write one direction of a model as a file for another runtime, which takes images of any size.

    `format` is `onnx`, `openvino`, `torchscript` or `torch-export`; by default the suffix of `out` says it.
    `checkpoint` of a run is `best`, `last` or a number; by default the best where there is one. `steps`
    and `seed` of a model of several steps (UNSB) become part of the file, see `Translator.load`. `int8`
    (ONNX and OpenVINO) wants a folder of images to calibrate with. The file is compared with float32 PyTorch before it
    takes its place: where it differs by more than 0.001 in float32, or has wrong shapes, nothing is written. Raises
    `UserError` for that and for whatever was asked for that cannot be done.
    """
    out = Path(out)
    name = find_format(out, format)
    with _errors_for_people(out):
        _check_request(out, name, precision, calibrate, overwrite)
    form = load_format(name)
    loaded = load_generator(model, direction, checkpoint=checkpoint, steps=steps, seed=seed)
    if not loaded.network.exportable:
        reason = "is an optimisation with gradients" if loaded.network.is_search else "says that it is not exportable"
        raise UserError(
            f"{model} cannot be exported: its translation ({type(loaded.network).__name__}) {reason}, not a network "
            "that a file could hold. Use unpaired translate, or unpaired.Translator in Python."
        )
    # Beside `out`, so that the finished file can be moved there in one step.
    with _errors_for_people(out), _draft_folder(out.parent) as place:
        draft = place / out.name
        if calibrate is not None:
            exactness, content, measured_on = _int8(form, loaded, draft, Path(calibrate))
        else:
            content, measured_on = form.convert(loaded.network), len(parity_images(loaded.network.in_channels))
            form.save(content, draft, {})
            exactness = check_parity(form.open(draft), loaded.network)
        drafts = form.save(content, draft, describe(loaded, precision, exactness))
        check_shapes(form.open(draft), loaded.network, parity_images(loaded.network.in_channels)[2:3])
        files = [out.with_name(path.name) for path in drafts]
        for written, target in zip(drafts, files, strict=True):
            os.replace(written, target)
    return ExportReport(
        files=files,
        format=form.label,
        source=checkpoint_title(loaded.folder, loaded.card),
        precision=precision,
        exactness=exactness,
        measured_on=measured_on,
    )


def describe(loaded: Loaded, precision: str, exactness: Exactness) -> dict[str, str]:
    """Return the metadata of a file: all that is needed to use it, as text; lists and objects as JSON."""
    network, card = loaded.network, loaded.card
    source, target = card.domains_of(loaded.direction)
    return {
        "unpaired_version": __version__,
        "direction": loaded.direction,
        "origin": card.origin,
        "method": card.method or "",
        "checkpoint": checkpoint_title(loaded.folder, card),
        "input": f"{INPUT}: float32 [N, {network.in_channels}, H, W] in [-1, 1], any N, H, W >= 1",
        "output": f"{OUTPUT}: float32 [N, {network.out_channels}, H, W] in [-1, 1]",
        # Which stored values are -1 and 1: the range where one is declared, else that of the dtype.
        "source": json.dumps(domain_to_json(source)),
        "target": json.dumps(domain_to_json(target)),
        # The size at which to give images, whole; null: at their own size, or not known.
        "scale": json.dumps(card.scale and str(card.scale)),
        "training_size": json.dumps(card.training_size),
        "size_multiple": str(network.size_multiple),
        "minimum_size": str(network.minimum_size),
        "padding": "inside the file, by reflection on the right and at the bottom; cropped back",
        "precision": precision,
        "exactness": json.dumps(exactness.to_json()),
    }


def _int8(form: Format, loaded: Loaded, draft: Path, calibrate: Path) -> tuple[Exactness, Any, int]:
    from unpaired.models.export.quantize import calibration_images, quantize

    source, _ = loaded.card.domains_of(loaded.direction)
    images, kept_out = calibration_images(calibrate, source)
    graph, quantized = draft.with_name("graph.onnx"), draft.with_name("quantized.onnx")
    onnx = load_format("onnx")
    onnx.save(onnx.convert(loaded.network), graph, {})
    check_parity(onnx.open(graph), loaded.network)
    quantize(graph, quantized, images)
    content = form.quantized(quantized)
    form.save(content, draft, {})
    run = form.open(draft)
    check_shapes(run, loaded.network, parity_images(loaded.network.in_channels))
    return compare(run, reference(loaded.network), kept_out), content, sum(image.shape[0] for image in kept_out)


def _check_request(out: Path, name: str, precision: str, calibrate: str | Path | None, overwrite: bool) -> None:
    if precision not in get_args(ExportPrecision):
        raise UserError(
            f'there is no precision "{precision}" for exported files; choose fp32 or int8. Runtimes lower fp32 by '
            f"themselves where they are set to.{did_you_mean(precision, get_args(ExportPrecision))}"
        )
    int8 = option("precision", "int8")
    if precision == "int8" and name not in ("onnx", "openvino"):
        raise UserError(f"{int8} is for the formats onnx and openvino; received {option('format', name)}.")
    if precision == "int8" and calibrate is None:
        raise UserError(
            f"{int8} needs {option('calibrate', 'DIR')}: a folder of images like those that will be translated, such "
            "as the training images of the domain that the model translates from."
        )
    if precision != "int8" and calibrate is not None:
        raise UserError(f"{option('calibrate')} is of use for {int8} only. Leave it out, or choose int8.")
    require_outside(out, [calibrate])
    if out.is_dir():
        raise UserError(f"{option('out', out)}: this is a folder; give the file to be written.")
    for path in (out, out.with_suffix(".bin")) if name == "openvino" else (out,):
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists already. Choose {option('overwrite')} to replace it, or another place.")


@contextlib.contextmanager
def _draft_folder(parent: Path) -> Iterator[Path]:
    """Yield a folder that is deleted afterwards; what killed processes have left behind is deleted before."""
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob(f"{_DRAFTS}*"):
        with contextlib.suppress(UserError), locked(leftover):  # refused where another process writes there
            remove(leftover)
    made = tempfile.TemporaryDirectory(prefix=_DRAFTS, dir=parent, ignore_cleanup_errors=True)
    with made as place, locked(Path(place)):
        yield Path(place)


@contextlib.contextmanager
def _errors_for_people(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = "the disk is full" if means_full_disk(error) else str(error.strerror or error)
        raise UserError(f"cannot write {printable(out)}: {what}. Nothing was written. Choose another place.") from error


# ------------------------------------------------------------------------------------------------------------- parity


def parity_images(channels: int) -> list[Tensor]:
    """Return pictures of all sizes, one of noise, and a batch of two."""
    images = fixed_pictures(channels, SIZES)
    return [*images, torch.cat([images[2], images[2].flip(-1)])]


def check_shapes(run: Run, network: Generator, images: Sequence[Tensor]) -> None:
    """Raise `UserError` unless every result has the shape that it should have and is finite."""
    for image in images:
        expected = (image.shape[0], network.out_channels, *image.shape[2:])
        result = run(image)
        if tuple(result.shape) != expected:
            raise _failed(f"an image of shape {list(image.shape)} became {list(result.shape)}, not {list(expected)}")
        if not bool(result.isfinite().all()):
            raise _failed(f"an image of shape {list(image.shape)} became values that are not finite")


def check_parity(run: Run, network: Generator) -> Exactness:
    """Compare a float32 file with PyTorch on every kind of size; `UserError` where they differ by more than TOLERANCE.

    Left out, but for shape and finiteness, are images whose result changes by more than that when they change by a
    millionth: InstanceNorm turns an image of one colour, such as one of one pixel, into magnified rounding errors.
    """
    expected, images = reference(network), parity_images(network.in_channels)
    check_shapes(run, network, images)
    comparable = []
    for image in images:
        if compare(run, expected, [image]).largest <= TOLERANCE:
            comparable.append(image)
        elif _is_stable(network, image):
            found = compare(run, expected, [image])
            raise _failed(f"for an image of shape {list(image.shape)} it {found}; at most {TOLERANCE:g} is allowed")
    return compare(run, expected, comparable)


def _is_stable(network: Generator, image: Tensor) -> bool:
    """Say whether the network's result hardly changes when every value of the padded image changes by a millionth."""
    padded, _ = pad_to(image, network.size_multiple, network.minimum_size)
    noise = torch.empty_like(padded).uniform_(-_MILLIONTH, _MILLIONTH, generator=torch.Generator().manual_seed(0))
    run = reference(network)
    return compare(lambda images: run(images + noise), run, [padded]).largest <= TOLERANCE


def _failed(what: str) -> UserError:
    return UserError(
        f"the exported file does not do what PyTorch does: {what}. Nothing was written. Try another --format, or "
        "another version of the runtime."
    )
