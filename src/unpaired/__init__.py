"""Image-to-image translation learned from two folders of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Translator", "UserError", "__version__", "train"]

if TYPE_CHECKING:
    from unpaired.core.errors import UserError
    from unpaired.models.translator import Translator
    from unpaired.training.start import train


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `unpaired --help` need not wait for PyTorch."""
    if name == "Translator":
        from unpaired.models.translator import Translator

        return Translator
    if name == "train":
        from unpaired.training.start import train

        return train
    if name == "UserError":
        from unpaired.core.errors import UserError

        return UserError
    raise AttributeError(f"module 'unpaired' has no attribute {name!r}")
