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
    from unpaired.metrics.features import Features, Lite0Features, Lpips

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """EfficientNet-Lite0, and what the translations into each domain are to be taken for."""

    network: Lite0Features
    names: Mapping[str, str]
    """The class of a domain, by `a` and `b`; a domain without one is not measured."""
    numbers: Mapping[str, tuple[int, ...]]
    """The numbers of the classes of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The feature networks, LPIPS and segmenter of an evaluation, as far as they are open."""

    features: Mapping[str, Features] = field(default_factory=dict)
    """By `features` (that of --features) and `inception`."""
    lpips: Lpips | None = None
    segmenter: Segmenter | None = None
    classifier: Classifier | None = None


def open_networks(options: Options, notice: Notice) -> Networks:
    """Open what the options ask for; by default networks whose weights are at hand: EfficientNet-Lite0 and Inception.

    `notice` receives a line before a download. Raises `UserError` where weights are missing, damaged or something else.
    """
    features: dict[str, Features] = {}
    device = find_device(options.device)
    if (of := options.features_used) is not None:
        features["features"] = _open(of, device, notice)
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
    classifier = (
        None if options.classes is None else _open_classifier(options, features.get("features"), device, notice)
    )
    return Networks(features=features, lpips=lpips, segmenter=segmenter, classifier=classifier)


def _open_classifier(options: Options, features: Features | None, device: torch.device, notice: Notice) -> Classifier:
    from unpaired.metrics.features import Lite0Features, class_numbers

    names = options.target_classes
    numbers = {side: class_numbers(name) for side, name in names.items()}
    network = features if isinstance(features, Lite0Features) else _open("lite0", device, notice)
    assert isinstance(network, Lite0Features)
    return Classifier(network=network, names=names, numbers=numbers)


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
