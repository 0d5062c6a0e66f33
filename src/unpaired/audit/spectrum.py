"""How much of the energy of images lies in high frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unpaired.audit.measure import Images, Values, batches
from unpaired.metrics.spectrum import high_frequency_share, radial_spectrum
from unpaired.models.translator import Translator

CUTOFF = 0.5
"""Share of the Nyquist frequency above which frequencies are called high."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The radial power spectrum of a set of images, and the share of each image's energy above half of Nyquist."""

    frequencies: NDArray[np.float64]
    power: NDArray[np.float64]
    """Mean over the images."""
    high: Values
    """One share for each image; 0 for an image without any variation."""


def spectrum_of(images: Images, translator: Translator | None = None) -> Spectrum:
    """Return the spectrum of images, or of what a translator makes of them."""
    powers, shares, frequencies = [], [], np.zeros(0)
    for numbers in batches(images):
        batch = images.batch(numbers)
        measured = batch if translator is None else translator.translate_tensor(batch)
        found, power = radial_spectrum(measured)
        frequencies = np.asarray(found, np.float64)
        powers.append(np.asarray(power, np.float64) * len(numbers))
        shares.append(high_frequency_share(measured, cutoff=CUTOFF).double())
    return Spectrum(frequencies, np.add.reduce(powers) / len(images), torch.cat(shares).numpy())
