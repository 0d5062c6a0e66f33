"""The metrics. To add one, write its class and add one line to `METRICS`; a user names his as `package.module:Name`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.extensions import as_subclass, installed, is_spec, load_extension
from unpaired.evaluation.metrics import classes, clips, content, distribution, labels, pairs
from unpaired.evaluation.metrics.base import Context, ImageMetric, Metric, Need, SetMetric
from unpaired.evaluation.metrics.units import UnitErrors

__all__ = [
    "FAMILIES",
    "METRICS",
    "Context",
    "ImageMetric",
    "Metric",
    "Need",
    "SetMetric",
    "find_metrics",
    "metric_names",
]

METRICS: dict[str, type[Metric]] = {
    metric.name: metric
    for metric in (
        *(distribution.SlicedWasserstein, distribution.ColourDistance, distribution.FID, distribution.KID),
        *(distribution.Frechet, distribution.Kernel, distribution.Precision, distribution.Recall),
        *(distribution.Density, distribution.Coverage, classes.ClassHit),
        *(UnitErrors, pairs.L1, pairs.PSNR, pairs.SSIM, pairs.MSSSIM, pairs.LPIPS),
        *(content.EdgeDistance, content.StructureDistance, pairs.InputL1),
        clips.FlickerRatio,
        *(pairs.ReconstructionL1, pairs.ReconstructionPSNR, pairs.ReconstructionSSIM),
        *(labels.LabelScores, labels.FCNScores),
    )
}
"""Name -> metric, in the order in which figures are shown."""
FAMILIES: dict[str, tuple[str, ...]] = {
    "paired": ("l1", "psnr", "ssim", "ms_ssim"),
    "reconstruction": ("reconstruction_l1", "reconstruction_psnr", "reconstruction_ssim"),
}
"""Names for several metrics."""


def metric_names() -> list[str]:
    """Return every name that can be asked for."""
    return [*METRICS, *FAMILIES]


def find_metrics(names: Sequence[str]) -> Mapping[str, tuple[type[Metric], ...]]:
    """Return the metrics that each name means: one of `METRICS` or `FAMILIES`, or a user's `package.module:Name`.

    Raises `UserError` for anything else.
    """
    found = dict[str, tuple[type[Metric], ...]]()
    for name in names:
        if name in FAMILIES:
            found[name] = tuple(METRICS[one] for one in FAMILIES[name])
        elif name in METRICS:
            found[name] = (METRICS[name],)
        elif is_spec(name) or name in installed("metric"):
            found[name] = (as_subclass(load_extension(name, "metric"), Metric, name),)
        else:
            allowed = metric_names()
            raise UserError(
                f'there is no metric "{name}".{did_you_mean(name, allowed)} Allowed: {", ".join(allowed)}, or '
                "package.module:Name for one of your own."
            )
    return found
