"""The network of FID: which files it takes, its resize, and that it stays as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.networks.inception import Inception, resize_as_tensorflow
from weights import random_inception


@pytest.mark.slow
def test_it_takes_the_names_of_the_published_file_and_names_what_differs() -> None:
    network, weights = Inception(), random_inception()
    counters = {"Mixed_7c.branch1x1.bn.num_batches_tracked": torch.tensor(7)}
    network.load({**weights, **counters}, "file")
    assert torch.equal(
        network.state_dict()["Mixed_6e.branch7x7dbl_4.conv.weight"], weights["Mixed_6e.branch7x7dbl_4.conv.weight"]
    )

    fewer = {name: value for name, value in weights.items() if not name.startswith("Mixed_5b")}
    with pytest.raises(
        UserError, match=r"file does not .* \(missing: Mixed_5b\S+, Mixed_5b\S+, Mixed_5b\S+ and 32 more\)"
    ):
        network.load(fewer, "file")
    other = {**weights, "Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 5, 5)}
    with pytest.raises(UserError, match=r"\(of another shape: Conv2d_1a_3x3\.conv\.weight\)"):
        network.load(other, "file")
    with pytest.raises(UserError, match=r"\(unknown: AuxLogits\.fc\.weight\)"):
        network.load({**weights, "AuxLogits.fc.weight": torch.zeros(1)}, "file")

    network.train()  # nothing moves it
    assert not any(part.training for part in network.modules())
    assert not any(weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize(("old", "new"), [(4, 8), (8, 4), (5, 3), (1, 3)])
def test_positions_are_read_at_the_corner_and_nothing_is_smoothed(old: int, new: int) -> None:
    image = torch.rand(1, 2, old, old + 1, generator=torch.Generator().manual_seed(0))
    found = resize_as_tensorflow(image, new)
    assert found.shape == (1, 2, new, new)
    for row in range(new):
        for column in range(new):
            expected = _at(image, row * old / new, column * (old + 1) / new)
            torch.testing.assert_close(found[:, :, row, column], expected)


def _at(image: Tensor, row: float, column: float) -> Tensor:
    above, left = int(row), int(column)
    below, right = min(above + 1, image.shape[2] - 1), min(left + 1, image.shape[3] - 1)
    down, across = row - above, column - left
    upper = image[:, :, above, left] * (1 - across) + image[:, :, above, right] * across
    lower = image[:, :, below, left] * (1 - across) + image[:, :, below, right] * across
    return upper * (1 - down) + lower * down
