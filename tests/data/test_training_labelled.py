"""Pairs and label maps, from the settings to batches."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.errors import UserError
from unpaired.data.cache import decoded_key
from unpaired.data.check import BadFiles
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.data.folders import find_folders
from unpaired.data.labels import Labels, distinct_colours, paint
from unpaired.data.loader import UnpairedLoader
from unpaired.data.source import FolderSource
from unpaired.data.training import TrainingData, open_training_data, with_what_was_found

INDEX = LabelsConfig(kind="index", void=(255,))


def save(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(image).save(path)


def smooth(seed: int, size: tuple[int, int] = (24, 20)) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(PillowImage.fromarray(coarse).resize(size[::-1], PillowImage.Resampling.BICUBIC))


def index_map(seed: int, size: tuple[int, int] = (24, 20)) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], np.uint8), (6, 5))
    return np.asarray(PillowImage.fromarray(coarse).resize(size[::-1], PillowImage.Resampling.NEAREST))


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """The layout of CamVid: seven label maps and the photos they belong to, three more for tests."""
    for part, count in (("train", 7), ("test", 3)):
        for number in range(count):
            save(tmp_path / f"{part}annot" / f"{number}.png", index_map(number))
            save(tmp_path / part / f"{number}.png", smooth(number))
    return tmp_path


@pytest.fixture
def side_by_side(tmp_path: Path) -> Path:
    """Photo on the left, its flip image on the right."""
    for part, count in (("train", 5), ("val", 2)):
        for number in range(count):
            left = smooth(number)
            save(tmp_path / part / f"{number}.png", np.concatenate([left, 255 - left], axis=1))
    return tmp_path


def opened(root: Path, *, paired: bool = False, **settings: Any) -> TrainingData:
    crop = {} if settings.get("preprocess") == "none" else {"crop_size": 16}
    return open_training_data(DataConfig(root=str(root), **{**crop, **settings}), paired=paired)


def batches(data: TrainingData, count: int, **options: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    with UnpairedLoader(data, **{"batch_size": 1, "seed": 3, **options}) as loader:
        return list(islice(loader, count))


# ------------------------------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_halves_stay_together_through_crop_and_mirror(side_by_side: Path, order: Any) -> None:
    data = opened(side_by_side, paired=True, side_by_side=order, cache="none")
    assert data.paired
    assert (len(data.a), len(data.b), len(data.held_out_a)) == (5, 5, 2)
    assert "5 pairs and 2 for tests, side by side in one file each" in data.notices
    left, right = (data.a, data.b) if order == "ab" else (data.b, data.a)
    np.testing.assert_allclose(left[2].astype(int), 255 - right[2], atol=1)
    seen = batches(data, 15)
    for x, y in seen:
        torch.testing.assert_close(x, -y, rtol=0, atol=0.01)  # each half is rounded for itself: one level of 255
    first = [x.flatten().tolist() for x, _ in seen]
    assert len({tuple(values) for values in first}) > 5, "not every epoch cuts alike"


def test_unpaired_methods_take_side_by_side_files_too(side_by_side: Path) -> None:
    data = opened(side_by_side, side_by_side="ab")
    assert not data.paired
    apart = [not torch.allclose(x, -y, atol=0.01) for x, y in batches(data, 10)]
    assert any(apart)


def test_a_bad_side_by_side_file_is_listed_once(side_by_side: Path) -> None:
    (side_by_side / "train" / "2.png").write_bytes(b"")
    with pytest.raises(BadFiles, match=r"^1 file cannot be used:\n.*2\.png: empty: 0 bytes\nRepair"):
        opened(side_by_side, paired=True, side_by_side="ab")


def test_no_half_is_a_copy_of_the_other(side_by_side: Path) -> None:
    assert not any("the same in A and B" in notice for notice in opened(side_by_side, side_by_side="ab").notices)


def test_resuming_pairs_is_exact(side_by_side: Path) -> None:
    data = opened(side_by_side, paired=True, side_by_side="ab")
    whole, rest = batches(data, 12), batches(data, 5, start_images=7)
    for (x, y), (u, v) in zip(whole[7:], rest, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_two_ranks_share_the_pairs(side_by_side: Path) -> None:
    data = opened(side_by_side, paired=True, side_by_side="ab")
    alone = batches(data, 5, batch_size=2)
    ranks = [batches(data, 5, rank=rank, world_size=2) for rank in range(2)]
    for number, (x, _) in enumerate(alone):
        assert torch.equal(x, torch.cat([ranks[0][number][0], ranks[1][number][0]]))


@pytest.mark.parametrize("mode", ["disk", "memory", "none"])
def test_every_cache_keeps_the_halves_apart(side_by_side: Path, mode: Any) -> None:
    data = opened(side_by_side, paired=True, side_by_side="ab", cache=mode, workers=1)
    for _ in range(2):
        for number in range(5):
            difference = data.a[number].astype(int) + data.b[number] - 255
            assert np.abs(difference).max() <= 1, "bicubic rounds each half for itself"


def test_files_in_the_root_itself(tmp_path: Path) -> None:
    save(tmp_path / "0.png", np.concatenate([smooth(0), smooth(1)], axis=1))
    data = opened(tmp_path, paired=True, side_by_side="ba")
    assert (data.held_out_from, data.layout) == ("train", "ROOT, side by side: B left, A right")


def test_an_odd_width_is_a_bad_file(side_by_side: Path) -> None:
    save(side_by_side / "train" / "odd.png", smooth(0, (24, 41)))
    with pytest.raises(BadFiles, match=r"odd\.png: an odd width of 41 pixels"):
        opened(side_by_side, side_by_side="ab")
    assert len(opened(side_by_side, side_by_side="ab", paired=True, on_bad_image="skip").a) == 5


def test_where_side_by_side_files_may_lie(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.side_by_side = ab.*data\.root"):
        find_folders(DataConfig(a="x", b="y", side_by_side="ab"))
    with pytest.raises(UserError, match=r"no side-by-side files.*ROOT/train.*Found there: no folders"):
        opened(tmp_path, side_by_side="ab")
    save(tmp_path / "train" / "0.png", smooth(0))
    with pytest.raises(UserError, match=r"no known layout fits.*set data\.side_by_side to ab or ba"):
        opened(tmp_path)


def test_two_folders_are_matched_by_name(annotated: Path) -> None:
    data = opened(annotated, paired=True, labels_a=INDEX)
    assert "7 pairs and 3 for tests, matched by name" in data.notices
    assert [Path(data.a.name(n)).stem for n in range(7)] == [Path(data.b.name(n)).stem for n in range(7)]
    (annotated / "train" / "6.png").unlink()
    with pytest.raises(BadFiles, match=r"1 file without a partner:\n.*trainannot/6\.png"):
        opened(annotated, paired=True, labels_a=INDEX)
    data = opened(annotated, paired=True, labels_a=INDEX, on_bad_image="skip")
    assert len(data.a) == len(data.b) == 6
    assert len(opened(annotated, labels_a=INDEX).a) == 7, "nobody needs a partner where no pairs are asked for"


def test_training_and_test_files_without_a_partner_are_listed_at_once(annotated: Path) -> None:
    (annotated / "train" / "6.png").unlink()
    (annotated / "test" / "1.png").unlink()
    with pytest.raises(BadFiles, match=r"(?s)trainannot/6\.png.*testannot/1\.png") as caught:
        opened(annotated, paired=True, labels_a=INDEX)
    assert [bad.path.name for bad in caught.value.bad_files] == ["6.png", "1.png"]


def test_a_class_that_looks_like_void_is_told(annotated: Path) -> None:
    def told(**settings: Any) -> list[str]:
        labels = LabelsConfig(kind="index", palette=((0, 0, 0), (0, 255, 0), (0, 0, 255)), **settings)
        return [
            notice for notice in opened(annotated, labels_a=labels).notices if "cannot tell the two apart" in notice
        ]

    assert "also the colour of class 0" in told(void=(255,))[0]
    assert told(void=(255,), feed="one_hot") == []
    assert told(void=(0, 255)) == []


def test_a_bad_photo_takes_its_label_map_with_it(annotated: Path) -> None:
    (annotated / "train" / "2.png").write_bytes(b"")
    data = opened(annotated, paired=True, labels_a=INDEX, on_bad_image="skip")
    assert [Path(data.a.name(n)).stem for n in range(6)] == ["0", "1", "3", "4", "5", "6"]
    assert [Path(data.b.name(n)).stem for n in range(6)] == ["0", "1", "3", "4", "5", "6"]
    assert "1 sound image is left out because the other image of its pair cannot be used" in data.notices


def test_pairs_of_different_sizes_in_a_mode_that_keeps_sizes(annotated: Path) -> None:
    save(annotated / "train" / "3.png", smooth(3, (24, 28)))
    assert len(opened(annotated, paired=True, labels_a=INDEX).a) == 7
    with pytest.raises(UserError, match=r"1 pair of images of different sizes.*\n.*3\.png: 24 x 20, and .*24 x 28"):
        opened(annotated, paired=True, labels_a=INDEX, preprocess="crop")


# -------------------------------------------------------------------------------------------------------- label maps


def test_index_maps_are_painted_and_never_blended(annotated: Path) -> None:
    data = opened(annotated, labels_a=INDEX, cache="none")
    labels = Labels(kind="index", palette=distinct_colours(3), void=(255,))
    assert data.domain_a.labels == labels
    assert (data.domain_a.channels, data.domain_a.dtype, data.domain_b.labels) == (3, "uint8", None)
    assert "A holds label maps of 3 classes, fed as colours (found in the files)" in data.notices
    colours = {(0, 0, 0), *labels.palette}
    for number in range(7):
        assert {tuple(pixel) for pixel in data.a[number].reshape(-1, 3).tolist()} <= colours
    x, _ = batches(data, 1)[0]
    assert x.shape == (1, 3, 16, 16)


def test_resizing_takes_the_nearest_pixel(annotated: Path) -> None:
    data = opened(annotated, labels_a=INDEX, crop_size=8, load_size=(12, 10), cache="none")
    values = index_map(0)
    rows, columns = (np.arange(12) * 2 + 1), (np.arange(10) * 2 + 1)
    labels = data.domain_a.labels
    assert labels is not None
    np.testing.assert_array_equal(data.a[0], paint(values[rows][:, columns], labels))


def test_one_hot_has_a_channel_for_each_class(annotated: Path) -> None:
    one_hot = LabelsConfig(kind="index", void=(255,), feed="one_hot", names=("road", "sky", "tree", "sea"))
    data = opened(annotated, labels_a=one_hot, preprocess="none", cache="none")
    assert data.domain_a.channels == 4
    values = index_map(0)
    for index in range(4):
        np.testing.assert_array_equal(data.a[0][:, :, index], np.where(values == index, 255, 0))


def test_values_that_are_no_class_are_bad_files(annotated: Path) -> None:
    two = LabelsConfig(kind="index", palette=((255, 0, 0), (0, 255, 0)), void=(255,))
    save(annotated / "trainannot" / "ok.png", np.zeros((24, 20), np.uint8))
    with pytest.raises(BadFiles, match=r"0\.png: no label map: values that are no class: 2"):
        opened(annotated, labels_a=two)


def test_colour_maps_in_halves_of_jpeg_files(tmp_path: Path) -> None:
    palette = distinct_colours(4)
    for number in range(4):
        indices = np.kron(np.random.default_rng(number).integers(0, 4, (3, 3)), np.ones((16, 16), int)).astype(np.uint8)
        pair = np.concatenate(
            [smooth(number, (48, 48)), paint(indices, Labels(kind="colour", palette=palette))], axis=1
        )
        (tmp_path / "train").mkdir(exist_ok=True)
        PillowImage.fromarray(pair).save(tmp_path / "train" / f"{number}.jpg", quality=90)
    data = opened(tmp_path, paired=True, side_by_side="ab", labels_b=LabelsConfig(kind="colour"), cache="none")
    labels = data.domain_b.labels
    assert labels is not None
    assert len(labels.palette) == 4
    for number in range(4):
        assert {tuple(pixel) for pixel in data.b[number].reshape(-1, 3).tolist()} <= set(labels.palette)
    with pytest.raises(UserError, match="domain A are plainly no label maps"):
        opened(tmp_path, side_by_side="ab", labels_a=LabelsConfig(kind="colour"))


def test_what_was_found_is_put_into_the_settings(annotated: Path) -> None:
    config = DataConfig(root=str(annotated), crop_size=16, labels_a=INDEX)
    data = open_training_data(config)
    settled = with_what_was_found(config, data)
    assert settled.labels_a == LabelsConfig(kind="index", palette=distinct_colours(3), void=(255,))
    assert settled.labels_b is None
    again = open_training_data(settled)
    assert again.domain_a == data.domain_a
    assert "A holds label maps of 3 classes, fed as colours" in again.notices


@pytest.mark.parametrize("setting", [{"channels_a": 3}, {"range_a": (0, 10)}])
def test_settings_of_pictures_do_not_fit_label_maps(annotated: Path, setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(UserError, match=rf"data\.{name} = .* label maps.*Leave data\.{name} out"):
        opened(annotated, labels_a=INDEX, **setting)


def test_the_layout_says_what_it_holds(annotated: Path) -> None:
    data = opened(annotated)
    assert data.layout == "ROOT/{trainannot,train[,testannot,test]}"
    found = "holds label maps by its name", "--set data.labels_a.kind=index"
    assert any(words in notice for notice in data.notices for words in found)
    assert not any(words in notice for notice in opened(annotated, labels_a=INDEX).notices for words in found)


def test_the_cache_tells_labels_and_palettes_apart(annotated: Path) -> None:
    def key(labels: LabelsConfig) -> str:
        source = opened(annotated, labels_a=labels, cache="none").a
        assert isinstance(source, FolderSource)
        return decoded_key(source)

    other = LabelsConfig(kind="index", void=(255,), palette=((1, 1, 1), (2, 2, 2), (3, 3, 3)))
    one_hot = LabelsConfig(kind="index", void=(255,), feed="one_hot")
    assert len({key(INDEX), key(other), key(one_hot)}) == 3
    assert key(INDEX) == key(INDEX)


def test_published_street_scenes(shared: Path) -> None:
    data = opened(
        shared / "data/camvid", paired=True, labels_a=LabelsConfig(kind="index", void=(11,)), cache="none", crop_size=64
    )
    assert (len(data.a), len(data.held_out_a)) == (367, 233)
    assert data.domain_a.labels is not None
    assert len(data.domain_a.labels.palette) == 11
    assert "367 pairs and 233 for tests, matched by name" in data.notices
