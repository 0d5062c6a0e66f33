"""The networks that measure, opened before anything slow is done, so that what is missing is told at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unpaired.core.device import find_device
from unpaired.core.errors import UserError
from unpaired.evaluation.options import OF_FEATURES, Options
from unpaired.evaluation.statistics import Lens

if TYPE_CHECKING:
    from unpaired.evaluation.segmentation.segmenter import Segmenter
    from unpaired.metrics.features import Lpips

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Feature networks, LPIPS and a segmenter, as far as they were asked for or are at hand."""

    lenses: tuple[Lens, ...] = ()
    lpips: Lpips | None = None
    segmenter: Segmenter | None = None

    def lens(self, key: str) -> Lens | None:
        """Return the lens of a key, None where it is not open."""
        return next((lens for lens in self.lenses if lens.key == key), None)


def open_tools(options: Options, say: Say) -> Tools:
    """Open what the options ask for; Inception's published weights by default only where they need no download.

    `say` is told of a download. Raises `UserError` where weights are missing, damaged or something else.
    """
    lenses = list[Lens]()
    if options.features is not None:
        lenses.append(_features(options, say))
    inception = _inception(options, say)
    if inception is not None:
        lenses.append(inception)
    lpips = segmenter = None
    if options.lpips is not None or options.asks_for("lpips"):
        from unpaired.metrics.features import open_lpips

        lpips = open_lpips(options.lpips or "alex", device=options.device, notice=say)
    if options.fcn is not None:
        from unpaired.evaluation.segmentation.segmenter import Segmenter

        segmenter = Segmenter.load(options.fcn, device=options.device)
    return Tools(lenses=tuple(lenses), lpips=lpips, segmenter=segmenter)


def _features(options: Options, say: Say) -> Lens:
    from unpaired.metrics.features import open_features

    assert options.features is not None
    features = open_features(options.features, device=find_device(options.device), notice=say)
    if options.asks_for("structure") and not features.gives_maps:
        raise UserError(
            f"structure: {features.name} gives one vector for an image and no features of positions. Use one that "
            f"does, such as vgg:FILE, or measure {', '.join(sorted(OF_FEATURES - {'structure'}))}."
        )
    return Lens("features", features)


def _inception(options: Options, say: Say) -> Lens | None:
    """Open Inception where a measure needs it or, by default, where its file is given or at hand."""
    from unpaired.metrics.features import open_features
    from unpaired.metrics.features.weights import INCEPTION, is_at_hand

    by_default = options.measures is None and (options.inception is not None or is_at_hand(INCEPTION))
    if not (options.wants_inception or by_default):
        return None
    spec = "inception" if options.inception is None else f"inception:{options.inception}"
    return Lens("inception", open_features(spec, device=find_device(options.device), notice=say))
