"""What files hold of translations: one definition, for arrays and for tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unpaired.data.labels import Labels, decoded
from unpaired.data.values import Domain, as_stored, rounded, to_signed

PALETTE = ((10, 20, 30), (200, 100, 50), (0, 255, 0))
DOMAINS = [
    Domain(channels=3),
    Domain(channels=1, dtype="uint16"),
    Domain(channels=2, dtype="int16", range=(-1000, 3000)),
    Domain(channels=1, dtype="float32", range=(-2, 7)),
    Domain(channels=3, labels=Labels(kind="index", palette=PALETTE)),
    Domain(channels=3, labels=Labels(kind="index", palette=PALETTE, feed="one_hot")),
]


def values(domain: Domain) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).uniform(-1.2, 1.2, (2, 6, 7, domain.channels)).astype(np.float32)


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_tensors_are_rounded_as_files_are(domain: Domain) -> None:
    made = values(domain)
    tensor = torch.from_numpy(made).permute(0, 3, 1, 2)
    expected = np.stack([to_signed(as_stored(image, domain), domain.range) for image in made])
    found = rounded(tensor, domain).permute(0, 2, 3, 1).numpy()
    if domain.dtype == "float32":
        np.testing.assert_allclose(found, expected, atol=1e-6)
    else:
        np.testing.assert_array_equal(found, expected)
    assert torch.equal(rounded(rounded(tensor, domain), domain), rounded(tensor, domain))


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_what_is_not_finite_stays_so(domain: Domain) -> None:
    tensor = torch.zeros(2, domain.channels, 4, 4)
    tensor[1, 0, 0, 0] = torch.nan
    found = rounded(tensor, domain)
    assert not bool(found[1].isfinite().all())
    assert bool(found[0].isfinite().all())


def test_label_maps_are_snapped_to_their_classes() -> None:
    labels = Labels(kind="index", palette=PALETTE, void=(2,))
    colours = Domain(channels=3, labels=labels)
    near = to_signed(np.array([[[12, 18, 33], [190, 90, 60], [0, 250, 3]]], np.uint8))
    stored = as_stored(near, colours)
    assert stored[0, :2].tolist() == [list(PALETTE[0]), list(PALETTE[1])]
    assert decoded(stored, labels).tolist() == [[0, 1, 0]]  # never void


def test_equal_bytes_of_one_hot_channels_are_told_apart() -> None:
    spread = Domain(channels=3, labels=Labels(kind="index", palette=PALETTE, feed="one_hot"))
    close = np.array([[[0.5, 0.5001, -1.0]]], np.float32)
    assert as_stored(close, spread).tolist() == [[[0, 255, 0]]]
