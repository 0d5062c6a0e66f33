from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unpaired.core.errors import UserError
from unpaired.models.padding import crop_back, pad_to, padded_size

SIDE = st.integers(1, 40)


@given(height=SIDE, width=SIDE, multiple=st.sampled_from([1, 2, 4, 8, 32]), minimum=st.integers(1, 70))
def test_pads_like_numpy_and_crops_back(height: int, width: int, multiple: int, minimum: int) -> None:
    image = torch.arange(2 * height * width, dtype=torch.float32).reshape(1, 2, height, width)
    padded, size = pad_to(image, multiple, minimum)
    new_height, new_width = padded.shape[2:]
    assert size == (height, width)
    assert (new_height, new_width) == padded_size(height, width, multiple, minimum)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (0, new_height - height), (0, new_width - width)), mode="reflect")
    np.testing.assert_array_equal(padded.numpy(), expected)
    assert torch.equal(crop_back(padded, size), image)


@given(length=st.integers(1, 10_000), multiple=st.integers(1, 300), minimum=st.integers(1, 300))
def test_padded_size_is_the_smallest_that_fits(length: int, multiple: int, minimum: int) -> None:
    padded, _ = padded_size(length, length, multiple, minimum)
    assert padded % multiple == 0
    assert padded >= max(length, minimum)
    assert padded - multiple < max(length, minimum)


def test_nothing_is_copied_where_nothing_is_added() -> None:
    image = torch.zeros(1, 3, 8, 12)
    assert pad_to(image, 4, 8)[0] is image


@pytest.mark.parametrize("shape", [(1, 3, 0, 5), (1, 3, 5, 0)])
def test_an_image_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="no pixels"):
        pad_to(torch.zeros(shape), 4)
