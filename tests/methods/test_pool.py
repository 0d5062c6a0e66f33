from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from unpaired.core.errors import UserError
from unpaired.methods import pool as pool_module
from unpaired.methods.pool import ImagePool, RaggedImagePool, image_pool

SHAPE = (1, 2, 2)


def _numbered(start: int, number: int = 1) -> Tensor:
    """Images that know their number."""
    return torch.arange(start, start + number).reshape(-1, 1, 1, 1).expand(-1, *SHAPE).float()


def _numbers(images: Tensor) -> list[int]:
    return images[:, 0, 0, 0].int().tolist()


def _reference(size: int, fresh: list[int], stored: list[int], swaps: list[bool], places: list[int]) -> list[int]:
    """The published algorithm on numbers."""
    answers = []
    for image, swap, place in zip(fresh, swaps, places, strict=True):
        if len(stored) < size:
            stored.append(image)
            answers.append(image)
        elif swap:
            answers.append(stored[place])
            stored[place] = image
        else:
            answers.append(image)
    return answers


def make(size: int, shape: tuple[int, int, int] | None) -> ImagePool | RaggedImagePool:
    return image_pool(size, SHAPE[0], shape and shape[1:])


@pytest.mark.parametrize("shape", [SHAPE, None])
@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 5), batches=st.lists(st.integers(1, 4), min_size=1, max_size=8), data=st.data())
def test_the_published_algorithm_image_by_image(
    shape: tuple[int, int, int] | None, size: int, batches: list[int], data: st.DataObject
) -> None:
    pool, stored, seen = make(size, shape), [], 0
    with pytest.MonkeyPatch.context() as patch:
        for number in batches:
            swaps = data.draw(st.lists(st.booleans(), min_size=number, max_size=number))
            places = data.draw(st.lists(st.integers(0, size - 1), min_size=number, max_size=number))
            patch.setattr(pool_module, "_draw", lambda *_, s=swaps, p=places: (torch.tensor(s), torch.tensor(p)))
            answers = pool(_numbered(seen, number))
            assert _numbers(answers) == _reference(size, list(range(seen, seen + number)), stored, swaps, places)
            seen += number
    if isinstance(pool, ImagePool):
        assert pool.count.item() == len(stored)
        assert _numbers(pool.images[: len(stored)]) == stored
    else:
        assert [image[0, 0, 0, 0].item() for image in pool.images] == stored


def test_both_pools_are_one_for_the_same_random_numbers() -> None:
    pools = ImagePool(3, SHAPE), RaggedImagePool(3)
    answers = []
    for pool in pools:
        torch.manual_seed(1)
        answers.append([_numbers(pool(_numbered(4 * step, 4))) for step in range(20)])
    assert answers[0] == answers[1]
    assert answers[0] != [list(range(4 * step, 4 * step + 4)) for step in range(20)]


def test_half_of_the_images_are_exchanged_with_a_random_place() -> None:
    torch.manual_seed(0)
    pool, rounds = ImagePool(4, SHAPE), 4000
    pool(_numbered(0, 4))
    changed = torch.zeros(4)
    for step in range(rounds):
        before = pool.images.clone()
        answer = pool(_numbered(4 + step))
        place = (pool.images != before).flatten(1).any(1)
        assert int(place.sum()) == int(_numbers(answer) != [4 + step])
        changed += place
    # Four standard deviations of binomial counts.
    assert abs(changed.sum().item() - rounds / 2) < 4 * (rounds / 4) ** 0.5
    assert ((changed - rounds / 8).abs() < 4 * (rounds / 8) ** 0.5).all()


def _runs(pool: ImagePool | RaggedImagePool, start: int, number: int) -> Iterator[list[int]]:
    for step in range(start, start + number):
        yield _numbers(pool(_numbered(step)))


@pytest.mark.parametrize("shape", [SHAPE, None])
@pytest.mark.parametrize("before", [0, 2, 30])
def test_a_saved_pool_goes_on_bit_for_bit(shape: tuple[int, int, int] | None, before: int) -> None:
    pool = make(5, shape)
    list(_runs(pool, 0, before))
    saved = copy.deepcopy(pool.state_dict())
    assert all(isinstance(value, Tensor) for value in saved.values())
    torch.manual_seed(3)
    expected = list(_runs(pool, before, 40))
    again = make(5, shape)
    list(_runs(again, 500, 7))  # what it holds must vanish
    again.load_state_dict(saved)
    torch.manual_seed(3)
    assert list(_runs(again, before, 40)) == expected


def test_a_ragged_pool_inside_a_module_saves_sizes_of_all_kinds() -> None:
    pool = RaggedImagePool(3)
    sizes = [(2, 3), (5, 1), (4, 4)]
    for height, width in sizes:
        pool(torch.randn(1, 3, height, width))
    module = torch.nn.ModuleDict({"pool": pool, "other": torch.nn.Linear(1, 1)})
    saved = module.state_dict()
    assert {name: tuple(value.shape) for name, value in saved.items() if "pool" in name} == {
        f"pool.images.{index}": (1, 3, *size) for index, size in enumerate(sizes)
    }
    again = torch.nn.ModuleDict({"pool": RaggedImagePool(3), "other": torch.nn.Linear(1, 1)})
    again.load_state_dict(saved)
    assert all(torch.equal(a, b) for a, b in zip(again["pool"].images, pool.images, strict=True))
    assert all(a is not b for a, b in zip(again["pool"].images, pool.images, strict=True))
    moved = again.to(torch.float64)
    assert moved["pool"].images[0].dtype == torch.float64


@pytest.mark.parametrize("names", [["images.0", "images.2"], ["images.0", "other"], [f"images.{i}" for i in range(4)]])
def test_a_ragged_pool_refuses_a_state_that_is_not_its_own(names: list[str]) -> None:
    with pytest.raises(RuntimeError, match="state_dict"):
        RaggedImagePool(3).load_state_dict({name: torch.zeros(1, 1, 2, 2) for name in names})


def test_different_sizes_need_a_batch_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = RaggedImagePool(1)
    pool(torch.zeros(1, 1, 2, 2))
    monkeypatch.setattr(pool_module, "_draw", lambda *_: (torch.tensor([True, False]), torch.tensor([0, 0])))
    with pytest.raises(UserError, match="batch_size to 1"):
        pool(torch.zeros(2, 1, 3, 3))


@pytest.mark.parametrize("shape", [SHAPE, None])
def test_answers_are_detached_and_of_the_type_they_came_in(shape: tuple[int, int, int] | None) -> None:
    for size in (0, 2):
        pool = make(size, shape)
        for step in range(6):
            weight = torch.ones((), dtype=torch.bfloat16, requires_grad=True)
            answer = pool(_numbered(step, 2).bfloat16() * weight)
            assert answer.dtype == torch.bfloat16
            assert not answer.requires_grad
    stored = [pool.images] if isinstance(pool, ImagePool) else pool.images
    assert all(images.dtype == torch.float32 and not images.requires_grad for images in stored)


@pytest.mark.parametrize("shape", [SHAPE, None])
def test_no_pool_hands_through(shape: tuple[int, int, int] | None) -> None:
    pool = make(0, shape)
    assert _numbers(pool(_numbered(7, 3))) == [7, 8, 9]
    assert sum(value.numel() for value in pool.state_dict().values()) <= 1


def test_answers_and_stored_images_share_no_memory() -> None:
    for pool in (ImagePool(1, SHAPE), RaggedImagePool(1)):
        first = _numbered(1).clone()
        pool(first).fill_(99)
        first.fill_(99)
        stored = pool.images if isinstance(pool, ImagePool) else pool.images[0]
        assert _numbers(stored) == [1]


def test_nothing_grows() -> None:
    fixed, ragged = ImagePool(3, SHAPE), RaggedImagePool(3)
    places = fixed.images.data_ptr(), fixed.count.data_ptr()
    for step in range(50):
        fixed(_numbered(step, 2))
        ragged(_numbered(step, 2))
    assert (fixed.images.data_ptr(), fixed.count.data_ptr()) == places
    assert len(ragged.images) == 3
    assert all(image.untyped_storage().nbytes() == 16 for image in ragged.images)


def test_a_pool_never_asks_for_a_value() -> None:
    """Fake tensors have no values: a branch on one, or `.item()`, would raise. This is what CUDA graphs need."""
    with FakeTensorMode():
        pool = ImagePool(2, SHAPE)
        for _ in range(4):
            assert pool(torch.zeros(3, *SHAPE)).shape == (3, *SHAPE)
    compiled = torch.compile(ImagePool(2, SHAPE), backend="eager", fullgraph=True)
    assert _numbers(compiled(_numbered(5, 2))) == [5, 6]
