"""Metrics as functions of arrays, such as `unpaired.metrics.ssim(x, y)`; nothing here knows of models or settings."""

from unpaired.metrics.confusion import Confusion
from unpaired.metrics.estimate import Estimate, frechet_estimate
from unpaired.metrics.frechet import Moments, frechet_distance
from unpaired.metrics.kernel import kernel_distance
from unpaired.metrics.manifold import precision_recall
from unpaired.metrics.paired import l1, ms_ssim, psnr, ssim
from unpaired.metrics.sliced import Patches, sliced_wasserstein
from unpaired.metrics.spectrum import high_frequency_share, radial_spectrum
from unpaired.metrics.structure import edge_distance, self_similarity

__all__ = [
    "Confusion",
    "Estimate",
    "Moments",
    "Patches",
    "edge_distance",
    "frechet_distance",
    "frechet_estimate",
    "high_frequency_share",
    "kernel_distance",
    "l1",
    "ms_ssim",
    "precision_recall",
    "psnr",
    "radial_spectrum",
    "self_similarity",
    "sliced_wasserstein",
    "ssim",
]
