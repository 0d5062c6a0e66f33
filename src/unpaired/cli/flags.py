"""The settings that have flags of their own."""

from __future__ import annotations

FLAGS = {
    "method.name": "METHOD",
    "data.root": "--data",
    "data.a": "--a",
    "data.b": "--b",
    "data.test_a": "--test-a",
    "data.test_b": "--test-b",
    "data.side_by_side": "--side-by-side",
    "data.crop_size": "--crop-size",
    "data.load_size": "--load-size",
    "data.preprocess": "--preprocess",
    "data.cache": "--cache",
    "data.on_bad_image": "--on-bad-image",
    "training.epochs": "--epochs",
    "training.decay_epochs": "--decay-epochs",
    "training.max_images": "--max-images",
    "training.batch_size": "--batch-size",
    "training.seed": "--seed",
    "training.device": "--device",
    "training.precision": "--precision",
    "training.compile": "--compile",
}
"""The settings that `train` has flags for; messages name the flag, which is what the user knows."""

_OF_COMPARE = ("data.root", "data.a", "data.b", "data.test_a", "data.test_b", "data.crop_size")

_OF_SEGMENT = {
    "data.root": "--data",
    "data.a": "--labels",
    "data.b": "--photos",
    "data.test_a": "--test-labels",
    "data.test_b": "--test-photos",
    "data.side_by_side": "--side-by-side",
    "data.crop_size": "--size",
    "segmenter.images": "--images",
    "segmenter.batch_size": "--batch-size",
    "segmenter.weights": "--weights",
    "segmenter.seed": "--seed",
    "segmenter.device": "--device",
}


_OF_EVALUATE = {"data.root": "--data", "data.on_bad_image": "--on-bad-image"}


def flags_of(command: str | None) -> dict[str, str]:
    """Return the flags of a command by setting.

    `compare` has but a few of those of `train`; `segment` and `evaluate` have their own.
    """
    if command == "segment":
        return _OF_SEGMENT
    if command == "evaluate":
        return _OF_EVALUATE
    return {name: FLAGS[name] for name in _OF_COMPARE} if command == "compare" else FLAGS
