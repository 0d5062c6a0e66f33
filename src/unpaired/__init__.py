"""Image-to-image translation learned from two folders of images."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Callback",
    "Result",
    "Translator",
    "UserError",
    "__version__",
    "audit",
    "evaluate",
    "evaluation",
    "losses",
    "methods",
    "metrics",
    "networks",
    "train",
    "translate",
]

if TYPE_CHECKING:
    from unpaired import audit, evaluation, methods, metrics, networks
    from unpaired.core.errors import UserError
    from unpaired.evaluation import evaluate
    from unpaired.methods import losses
    from unpaired.models.files import translate_files as translate
    from unpaired.models.translator import Translator
    from unpaired.plan.start import train
    from unpaired.training.result import Callback, Result

_PLACES = {
    "Callback": "unpaired.training.result:Callback",
    "Result": "unpaired.training.result:Result",
    "Translator": "unpaired.models.translator:Translator",
    "UserError": "unpaired.core.errors:UserError",
    "audit": "unpaired.audit",
    "evaluate": "unpaired.evaluation.start:evaluate",
    "evaluation": "unpaired.evaluation",
    "losses": "unpaired.methods.losses",
    "methods": "unpaired.methods",
    "metrics": "unpaired.metrics",
    "networks": "unpaired.networks",
    "train": "unpaired.plan.start:train",
    "translate": "unpaired.models.files:translate_files",
}
"""Public name -> where it lies: a module, or a name in one."""


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that `unpaired --help` need not wait for PyTorch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'unpaired' has no attribute {name!r}")
    module, _, inside = _PLACES[name].partition(":")
    found = importlib.import_module(module)
    globals()[name] = vars(found)[inside] if inside else found
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING", "Any", "annotations", "importlib"})
