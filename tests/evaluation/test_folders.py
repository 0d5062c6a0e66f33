"""Which file belongs to which, whoever made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from evaluations import pictures, write_pictures
from scans import phantom, write_nifti
from unpaired.core.errors import UserError
from unpaired.data.check import BadFiles
from unpaired.evaluation.dataset import Task
from unpaired.evaluation.folders import key_of, open_folders
from unpaired.evaluation.options import Options


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("n01_fake_B.png", "n01"),
        ("n01_real_A.jpg", "n01"),
        ("n01_rec_A.png", "n01"),
        ("n01_idt_B.png", "n01"),
        ("n01_fake.png", "n01"),
        ("n01.jpg", "n01"),
        ("sub/n01_real.png", "sub/n01"),
        ("_fake_B.png", "_fake_B"),
        ("a_fake_B_2.png", "a_fake_B_2"),
        ("n01_REAL_A.png", "n01_REAL_A"),
    ],
)
def test_what_files_are_matched_by(name: str, key: str) -> None:
    assert key_of(Path("/r") / name, Path("/r")) == key


def opened(**options: Any) -> tuple[Task, list[str]]:
    return open_folders(Options(**options), None)


def test_rows_follow_the_names(tmp_path: Path) -> None:
    fake = write_pictures(tmp_path / "fake", pictures(3), "n{}_fake_B.png")
    real = write_pictures(tmp_path / "real", pictures(5)[::-1], "n{}.jpg")
    inputs = write_pictures(tmp_path / "input", pictures(3), "n{}_real_A.png")
    (real / "n3.jpg").unlink()
    (real / "n4.jpg").unlink()
    (real / "n0.jpg").rename(real / "z.jpg")
    (real / "n1.jpg").rename(real / "n0.jpg")
    (real / "z.jpg").rename(real / "n1.jpg")
    task, _ = opened(real=real, fake=fake, input=inputs, paired=True)
    assert task.fakes is not None
    assert task.inputs is not None
    for row in task.rows:
        names = {
            key_of(Path(pictures.source.name(position)), Path(pictures.source.name(position)).parent)
            for pictures, position in ((task.fakes, row.fake), (task.real, row.target), (task.inputs, row.input))
            if position is not None
        }
        assert len(names) == 1
    assert len(task.rows) == 3


def test_files_without_a_partner_are_listed_or_left_out(tmp_path: Path) -> None:
    fake = write_pictures(tmp_path / "fake", pictures(3))
    real = write_pictures(tmp_path / "real", pictures(2))
    write_pictures(real, pictures(1), "other.png")
    with pytest.raises(BadFiles, match=r"2 files have no partner(.|\n)*2.png: nothing of this name in real") as told:
        opened(real=real, fake=fake, paired=True)
    assert "other.png: nothing of this name in fake" in str(told.value)
    task, notices = opened(real=real, fake=fake, paired=True, on_bad_image="skip")
    assert len(task.rows) == 2
    assert len(task.real.positions) == 2
    assert "other.png" in notices[-1]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    fake = write_pictures(tmp_path / "fake", pictures(2))
    write_pictures(fake, pictures(1), "{}.jpg")
    real = write_pictures(tmp_path / "real", pictures(2))
    with pytest.raises(UserError, match="have the same name"):
        opened(real=real, fake=fake, paired=True)


@pytest.mark.parametrize(
    ("place", "said"),
    [("nowhere", "does not exist"), ("real/0.png", "is a file"), ("real/x*.png", "fits this pattern")],
)
def test_places_that_are_no_folder(tmp_path: Path, place: str, said: str) -> None:
    real = write_pictures(tmp_path / "real", pictures(2))
    with pytest.raises(UserError, match=said):
        opened(real=real, fake=tmp_path / place)


def test_grey_and_colour_meet_and_other_channels_do_not(tmp_path: Path) -> None:
    real = write_pictures(tmp_path / "real", pictures(2))
    grey = write_pictures(tmp_path / "grey", pictures(2, channels=1))
    task, _ = opened(real=real, fake=grey)
    assert task.fakes is not None
    assert task.fakes.source[0].shape == (32, 32, 3)
    task, _ = opened(real=grey, fake=grey)
    assert task.real.source[0].shape == (32, 32, 1)
    (tmp_path / "five").mkdir()
    tifffile.imwrite(tmp_path / "five" / "0.tif", np.zeros((5, 32, 32), np.uint8), photometric="minisblack")
    with pytest.raises(UserError, match="different channels"):
        opened(real=real, fake=tmp_path / "five")


def test_sizes_follow_the_translations(tmp_path: Path) -> None:
    fake = write_pictures(tmp_path / "fake", pictures(2, 24))
    write_pictures(fake, pictures(1, 40), "large.png")
    real = write_pictures(tmp_path / "real", pictures(3, 32))
    task, _ = opened(real=real, fake=fake)
    assert (task.size, task.resized) == ((24, 24), True)
    task, _ = opened(real=real, fake=fake, size=(16, 20))
    assert (task.size, task.resized) == ((16, 20), False)
    assert task.real.source[0].shape == (16, 20, 3)


def test_slices_of_volumes_belong_together(tmp_path: Path) -> None:
    for seed, folder in enumerate(("real", "fake")):
        write_nifti(tmp_path / folder / "x.nii.gz", phantom(3, 16, 16, seed))
    task, _ = opened(real=tmp_path / "real", fake=tmp_path / "fake", paired=True)
    assert [(row.fake, row.target) for row in task.rows] == [(0, 0), (1, 1), (2, 2)]
