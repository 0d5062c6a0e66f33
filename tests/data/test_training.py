from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.data.check import BadFiles
from unpaired.data.config import DataConfig
from unpaired.data.encode import write_image
from unpaired.data.held_out import open_dataset
from unpaired.data.training import TrainingData, open_training_data
from unpaired.data.values import Domain

RNG = np.random.default_rng(0)


def image(channels: int = 3, dtype: str = "uint8", size: tuple[int, int] = (24, 20)) -> NDArray[np.generic]:
    values = RNG.random((*size, channels))
    return values.astype(dtype) if dtype == "float32" else (values * np.iinfo(dtype).max).astype(dtype)


def make(root: Path, **folders: list[NDArray[np.generic]]) -> Path:
    for folder, images in folders.items():
        (root / folder).mkdir(parents=True)
        for number, pixels in enumerate(images):
            write_image(pixels, root / folder / f"{number}{'.png' if pixels.shape[2] in (1, 3) else '.npy'}")
    return root


def opened(root: Path, **settings: object) -> TrainingData:
    return open_training_data(DataConfig(root=str(root), **{"crop_size": 16, **settings}))


def test_everything_is_described(tmp_path: Path) -> None:
    make(
        tmp_path,
        trainA=[image() for _ in range(3)],
        trainB=[image(1), image(), image(3, "uint16")],
        testA=[image()],
        testB=[image(), image()],
    )
    stages: list[str] = []
    config = DataConfig(root=str(tmp_path), crop_size=16)
    data = open_training_data(config, progress=lambda stage, done, total: stages.append(stage))
    assert (data.domain_a, data.domain_b) == (Domain(channels=3), Domain(channels=3, dtype="uint16"))
    assert (len(data.a), len(data.b), len(data.held_out_a), len(data.held_out_b)) == (3, 3, 1, 2)
    assert (data.held_out_from, data.size, data.flip) == ("test", (16, 16), True)
    assert data.layout == data.folders.layout
    assert data.a[0].shape == (17, 17, 3)
    assert data.b[0].shape == (17, 17, 3)
    assert data.held_out_b[0].shape == (16, 16, 3)
    np.testing.assert_array_equal(data.held_out_a[0], data.held_out_a[0])
    assert any("B has 1 grey image of 5" in notice for notice in data.notices)
    assert any("B mixes types of values" in notice for notice in data.notices)
    assert any("kept in memory" in notice for notice in data.notices)
    assert {"checking A", "checking B", "checking A (test)", "checking B (test)"} <= set(stages)


def test_without_test_images_training_images_are_shown(tmp_path: Path) -> None:
    data = opened(make(tmp_path, trainA=[image()], trainB=[image()]))
    assert data.held_out_from == "train"
    assert any("no test images" in notice for notice in data.notices)
    assert data.held_out_a.name(0) == data.a.name(0)


def test_channels_are_taken_from_the_images(tmp_path: Path) -> None:
    root = make(tmp_path, trainA=[image(1), image(1)], trainB=[image(13), image(13)])
    data = opened(root)
    assert (data.domain_a.channels, data.domain_b.channels) == (1, 13)
    assert data.b[0].shape == (17, 17, 13)
    assert opened(root, channels_a=3).a[0].shape[2] == 3
    with pytest.raises(BadFiles, match="13 channels, where the domain has 3"):
        opened(root, channels_b=3)


def test_colour_becomes_grey_where_that_is_set(tmp_path: Path) -> None:
    data = opened(make(tmp_path, trainA=[image(3)], trainB=[image(3)]), channels_b=1)
    assert data.b[0].shape[2] == 1
    assert any("1 colour image of 1" in notice for notice in data.notices)


def test_channels_that_do_not_agree(tmp_path: Path) -> None:
    make(tmp_path, trainA=[image(5), image(5), image(3)], trainB=[image()])
    with pytest.raises(UserError, match=r"domain A do not agree.*2 with 5 channels.*1 with 3 channels.*channels_a"):
        opened(tmp_path)
    data = opened(tmp_path, channels_a=5, on_bad_image="skip")
    assert len(data.a) == 2
    assert any("1 file left out" in notice and "3 channels" in notice for notice in data.notices)


def test_ranges(tmp_path: Path) -> None:
    (tmp_path / "trainA").mkdir()
    np.save(tmp_path / "trainA/x.npy", RNG.random((24, 20)) * 40 - 20)
    make(tmp_path, trainB=[image(3, "uint16")])
    with pytest.raises(BadFiles, match=r"range_a"):
        opened(tmp_path)
    data = opened(tmp_path, range_a=(-10, 10), range_b=(0, 4095))
    assert data.domain_a == Domain(channels=1, dtype="float32", range=(-10, 10))
    assert data.domain_b == Domain(channels=3, dtype="uint16", range=(0, 4095))
    assert sum("outside the declared range" in notice for notice in data.notices) == 2


def test_all_bad_files_of_all_folders_come_in_one_list(tmp_path: Path) -> None:
    make(tmp_path, trainA=[image()], trainB=[image()], testA=[image()], testB=[image()])
    bad = [tmp_path / part / "bad.png" for part in ("testA", "testB", "trainA", "trainB")]
    for path in bad:
        path.touch()
    with pytest.raises(BadFiles) as caught:
        opened(tmp_path)
    assert [file.path for file in caught.value.bad_files] == bad
    assert len(opened(tmp_path, on_bad_image="skip").a) == 1


def test_images_of_their_own_sizes(tmp_path: Path) -> None:
    make(tmp_path, trainA=[image(size=(21, 30)), image(size=(40, 30))], trainB=[image(size=(24, 20))])
    data = open_training_data(DataConfig(root=str(tmp_path), preprocess="none"))
    assert data.size is None
    assert [data.a[index].shape[:2] for index in range(2)] == [(20, 32), (40, 32)]
    with pytest.raises(UserError, match=r"training\.batch_size = 2 needs images of one size"):
        open_training_data(DataConfig(root=str(tmp_path), preprocess="none"), batch_size=2)
    with pytest.raises(BadFiles, match=r"too small: 24 x 20.*at least 22 x 22"):
        open_training_data(DataConfig(root=str(tmp_path), preprocess="none"), minimum_size=22)
    with pytest.raises(BadFiles, match=r"too small: 21 x 30.*at least 22 x 16"):
        opened(tmp_path, preprocess="crop", crop_size=(22, 16))


def test_equal_sizes_are_noticed(tmp_path: Path) -> None:
    make(tmp_path, trainA=[image(), image()], trainB=[image(), image()])
    config = DataConfig(root=str(tmp_path), preprocess="none")
    assert open_training_data(config, batch_size=2).size == (24, 20)


def test_what_appears_on_two_sides_is_told(tmp_path: Path) -> None:
    same = image()
    make(tmp_path, trainA=[same, image()], trainB=[same], testA=[same], testB=[image()])
    notices = opened(tmp_path).notices
    assert "1 image is the same in A and B" in notices
    assert "1 image is the same in A and A (test)" in notices


@pytest.mark.parametrize("preprocess", ["none", "scale_width"])
def test_images_are_padded_and_not_resized_where_a_network_needs_large_multiples(
    tmp_path: Path, preprocess: str
) -> None:
    images = [image(size=(24, 20)), image(size=(40, 20))]
    make(tmp_path, trainA=images, trainB=images)
    scaled = {"load_size": 20} if preprocess == "scale_width" else {}
    config = DataConfig(root=str(tmp_path), preprocess=preprocess, **scaled)
    data = open_training_data(config, paired=True, size_multiple=32, minimum_size=32)
    assert data.size is None
    for n, (pixels, size) in enumerate(zip(images, [(32, 32), (64, 32)], strict=True)):
        assert data.a[n].shape[:2] == size
        np.testing.assert_array_equal(data.a[n][: pixels.shape[0], :20], pixels)
        np.testing.assert_array_equal(data.a[n][:, 20:], data.a[n][:, 18:6:-1])
        np.testing.assert_array_equal(data.held_out_a[n], pixels)
    assert sum("2 images are padded by reflection to multiples of 32" in notice for notice in data.notices) == 2
    assert data.domain_a == Domain(channels=3)


def test_images_that_are_stretched_are_told(tmp_path: Path) -> None:
    make(tmp_path, trainA=[image(size=(20, 60))], trainB=[image(size=(60, 60))])
    notices = opened(tmp_path, preprocess="scale_width_and_crop", crop_size=16, load_size=20).notices
    assert [notice for notice in notices if "stretched" in notice] == [
        "A: 1 image is lower than the crop at a width of 20, and stretched to a height of 16"
    ]


def test_training_images_stand_in_for_the_tests_of_one_domain(tmp_path: Path) -> None:
    make(tmp_path, trainA=[image(), image()], trainB=[image()], testA=[image()], testB=[])
    data = opened(tmp_path)
    assert (len(data.held_out_a), len(data.held_out_b), data.held_out_from) == (1, 1, "train")
    assert (data.held_out_parts["a"].test, data.held_out_parts["b"].test) == (True, False)
    assert "there are no test images of B, so its training images stand in" in data.notices
    dataset = open_dataset(DataConfig(root=str(tmp_path), crop_size=16))
    assert (len(dataset.test.a), len(dataset.test.b), dataset.test.taken_from) == (1, 1, "train")
    make(tmp_path / "pairs", trainA=[image()], trainB=[image()], testA=[], testB=[image()])
    assert open_training_data(DataConfig(root=str(tmp_path / "pairs")), paired=True).held_out_from == "train"


def test_four_channels_are_trained_where_they_are_asked_for(tmp_path: Path) -> None:
    straight = np.concatenate([image(3), image(1)], axis=2)
    straight[..., 3] |= 1
    straight[:4, :4, 3] = 0
    make(tmp_path, trainB=[image()])
    (tmp_path / "trainA").mkdir()
    for number, pixels in enumerate([straight, image(3), image(1)]):
        write_image(pixels, tmp_path / f"trainA/{number}.png")
    data = opened(tmp_path, preprocess="crop", channels_a=4)
    assert data.domain_a == Domain(channels=4, alpha=True)
    expected = straight.copy()
    expected[:4, :4, :3] = 255
    np.testing.assert_array_equal(data.a[0], expected)
    assert [data.a[n].shape[2] for n in range(3)] == [4, 4, 4]
    assert (data.a[1][..., 3] == 255).all()
    # By default they are laid over white.
    assert opened(tmp_path, preprocess="crop").domain_a == Domain(channels=3)
    # Where no file has transparency, nothing is invented.
    for path in (tmp_path / "trainA").glob("0.png"):
        path.unlink()
    with pytest.raises(BadFiles, match="3 channels, where the domain has 4"):
        opened(tmp_path, preprocess="crop", channels_a=4)


def test_errors_come_before_anything_is_read(tmp_path: Path) -> None:
    make(tmp_path, trainA=[image()], trainB=[])
    with pytest.raises(UserError, match="no images in the folder"):
        opened(tmp_path)
    with pytest.raises(UserError, match="does not fit"):
        opened(tmp_path, load_size=8)


def test_real_photos(shared: Path) -> None:
    data = open_training_data(DataConfig(root=str(shared / "data/horse2zebra"), cache="none"))
    assert (len(data.a), len(data.b), len(data.held_out_a), len(data.held_out_b)) == (1067, 1334, 120, 140)
    assert data.domain_a == data.domain_b == Domain(channels=3)
    assert any(notice.startswith("B has 7 grey images") for notice in data.notices)
    assert data.a[0].shape == (286, 286, 3)
