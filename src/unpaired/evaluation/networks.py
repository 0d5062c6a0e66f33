"""The networks that metrics need, opened before anything slow is done, so that what is missing is reported at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unpaired.core.device import find_device
from unpaired.core.errors import UserError

if TYPE_CHECKING:
    import torch

    from unpaired.evaluation.options import Options
    from unpaired.evaluation.segmentation.segmenter import Segmenter
    from unpaired.metrics.features import Features, Lpips

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The feature networks, LPIPS and segmenter of an evaluation, as far as they are open."""

    features: Mapping[str, Features] = field(default_factory=dict)
    """By `features` (that of --features) and `inception`."""
    lpips: Lpips | None = None
    segmenter: Segmenter | None = None


def open_networks(options: Options, notice: Notice) -> Networks:
    """Open what the options ask for; Inception's published weights by default only where they need no download.

    `notice` receives a line before a download. Raises `UserError` where weights are missing, damaged or something else.
    """
    features: dict[str, Features] = {}
    device = find_device(options.device)
    if options.features is not None:
        features["features"] = _open(options.features, device, notice)
        _require_maps(options, features["features"])
    if options.needs_inception or (options.metrics is None and _inception_is_at_hand(options)):
        spec = "inception" if options.inception is None else f"inception:{options.inception}"
        features["inception"] = _open(spec, device, notice)
    lpips = segmenter = None
    if options.lpips is not None or options.asks_for("lpips"):
        from unpaired.metrics.features import open_lpips

        lpips = open_lpips(options.lpips or "alex", device=options.device, notice=notice)
    if options.fcn is not None:
        from unpaired.evaluation.segmentation.segmenter import Segmenter

        segmenter = Segmenter.load(options.fcn, device=options.device)
    return Networks(features=features, lpips=lpips, segmenter=segmenter)


def _open(spec: str, device: torch.device, notice: Notice) -> Features:
    from unpaired.metrics.features import open_features

    return open_features(spec, device=device, notice=notice)


def _require_maps(options: Options, network: Features) -> None:
    if options.asks_for("structure") and not network.gives_maps:
        raise UserError(
            f"structure: {network.name} gives one vector for an image and no features of positions. Use one that "
            "does, such as vgg:FILE, or measure frechet, kernel."
        )


def _inception_is_at_hand(options: Options) -> bool:
    from unpaired.metrics.features.weights import INCEPTION, is_at_hand

    return options.inception is not None or is_at_hand(INCEPTION)
