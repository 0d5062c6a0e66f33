from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unpaired.core.errors import UserError
from unpaired.data.changes import ImageRecord, compare_records, record_images
from unpaired.data.config import DataConfig
from unpaired.data.encode import write_image
from unpaired.data.training import Part, TrainingData, open_training_data

TRAIN_A = Part(False, "a")
NAMES = st.dictionaries(st.text(st.characters(exclude_characters="\0"), min_size=1), st.binary(min_size=8, max_size=8))


def write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(np.full((8, 8, 3), value, np.uint8), path)


def opened(root: Path) -> TrainingData:
    return open_training_data(DataConfig(root=str(root), crop_size=4, cache="none"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / f"data/trainA/below/{number}.png", number)
        write(tmp_path / f"data/trainB/{number}.png", 10 + number)
    return tmp_path / "data"


def test_the_same_images_elsewhere_are_no_change(root: Path) -> None:
    before = record_images(opened(root))
    moved = root.rename(root.with_name("moved"))
    after = record_images(opened(moved))
    assert list(after.parts[TRAIN_A]) == ["below/0.png", "below/1.png", "below/2.png"]
    assert compare_records(ImageRecord.from_json(json.loads(json.dumps(before.to_json()))), after) == ()


def test_added_removed_and_changed_images_are_named(root: Path) -> None:
    before = record_images(opened(root))
    (root / "trainA/below/0.png").unlink()
    write(root / "trainA/below/1.png", 77)
    for number in range(5):
        write(root / f"trainA/new{number}.png", 100 + number)
    write(root / "testA/0.png", 30)
    write(root / "testB/0.png", 31)
    first, *tests = compare_records(before, record_images(opened(root)))
    assert (first.part, first.before, first.after, first.reordered) == (TRAIN_A, 3, 7, False)
    assert (first.removed, first.changed) == (("below/0.png",), ("below/1.png",))
    assert first.added == tuple(f"new{number}.png" for number in range(5))
    assert [(change.part.test, change.before, change.after) for change in tests] == [(True, 0, 1)] * 2
    assert first.in_words("A") == (
        "A: 5 images added (new0.png, new1.png, new2.png, ...), 1 removed (below/0.png), 1 changed (below/1.png)"
    )


@given(old=NAMES, new=NAMES)
def test_any_names_survive(old: dict[str, bytes], new: dict[str, bytes]) -> None:
    before, after = ({TRAIN_A: images} if images else {} for images in (old, new))
    packed = ImageRecord.from_json(json.loads(json.dumps(ImageRecord(before).to_json())))
    assert packed == ImageRecord(before)
    found = compare_records(packed, ImageRecord(after))
    assert bool(found) == (list(old.items()) != list(new.items()))


@pytest.mark.parametrize("text", ["", "x", "\u00e9", "VmHlA", None])
def test_a_damaged_record_is_said_to_be_damaged(text: str) -> None:
    with pytest.raises(UserError, match="damaged"):
        ImageRecord.from_json({"train_a": text})


def test_a_hundred_thousand_images_take_little() -> None:
    rng = np.random.default_rng(0)
    images = {f"n{rng.integers(10**8):08d}_{number}.jpg": rng.bytes(8) for number in range(100_000)}
    record = ImageRecord({TRAIN_A: images})
    began = time.process_time()
    packed = record.to_json()
    assert compare_records(ImageRecord.from_json(packed), record) == ()
    assert time.process_time() - began < 5
    assert len(packed["train_a"]) < 25 * len(images)
