"""Training on slices of volumes and of DICOM series, with their neighbours, and translation by what came of it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import pytest

import unpaired
from runs import TINY
from scans import phantom, write_nifti, write_series
from unpaired.core.errors import UserError
from unpaired.models.files import translate_files
from unpaired.models.translator import Translator

SHORT = {"training.epochs": 1, "training.decay_epochs": 0}
SETTINGS = {**TINY, **SHORT, "data.range_a": [-1024, 3071], "data.range_b": [-1024, 3071]}


def train(root: Path, run: Path, **given: object) -> Translator:
    settings = {**SETTINGS, **{name.replace("__", "."): value for name, value in given.items()}}
    unpaired.train("cyclegan", out=run, quiet=True, settings={"data.root": str(root), **settings})
    return Translator.load(run, device="cpu")


def test_volumes_with_neighbours(tmp_path: Path) -> None:
    for seed, folder in enumerate(("trainA", "trainB", "testA")):
        write_nifti(tmp_path / folder / "x.nii.gz", phantom(3, 20, 22, seed), axes="RAS")
    translator = train(tmp_path, tmp_path / "run", data__neighbours=1, data__axis="coronal")
    assert (translator.source.channels, translator.source.neighbours, translator.target.axis) == (3, 1, 1)
    assert translator.source.spacing == pytest.approx((2.5, 0.6, 0.7))
    source = tmp_path / "testA" / "x.nii.gz"
    report = translate_files(translator, source, tmp_path / "out")
    assert (report.written, report.failed) == (1, [])
    before, after = nibabel.load(source), nibabel.load(tmp_path / "out" / "x.nii.gz")
    assert (before.shape, before.get_data_dtype()) == (after.shape, after.get_data_dtype())


def test_series_with_neighbours_and_held_out_patients(tmp_path: Path) -> None:
    for seed in range(6):
        write_series(tmp_path / f"train{'AB'[seed % 2]}", phantom(2, 20, 20, seed), f"P{seed}")
    translator = train(tmp_path, tmp_path / "run", data__neighbours=1, data__group="patient", data__held_out=0.3)
    assert translator.source.channels == 3
    page = (tmp_path / "run" / "config.json").read_text()
    assert '"held_out": 0.3' in page


def test_pictures_have_no_neighbours(tmp_path: Path) -> None:
    from runs import write_images

    write_images(tmp_path, {"trainA": 2, "trainB": 2})
    with pytest.raises(UserError, match="an image by itself"):
        train(tmp_path, tmp_path / "run", data__neighbours=1)
