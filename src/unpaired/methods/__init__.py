"""The methods, one file each: adding one is writing a file and adding a line here.

A method is a class derived from `Method`, and its settings; `unpaired.methods.losses` and `unpaired.methods.pool` are
what they are built of, and can be used by themselves.
"""

from __future__ import annotations

from unpaired.core.families import Families
from unpaired.methods.base import Batch, Direction, ImageShapes, Method, Player, Term, Update
from unpaired.methods.bigan import BiGAN
from unpaired.methods.cogan import CoGAN
from unpaired.methods.cut import CUT, FastCUT
from unpaired.methods.cyclegan import CycleGAN
from unpaired.methods.dclgan import DCLGAN
from unpaired.methods.feature_gan import FeatureGAN
from unpaired.methods.masked import Masked
from unpaired.methods.pix2pix import Pix2pix
from unpaired.methods.simgan import SimGAN
from unpaired.methods.stegogan import StegoGAN
from unpaired.methods.unsb import UNSB

__all__ = ["METHODS", "Batch", "Direction", "ImageShapes", "Method", "Player", "Term", "Update", "find_method"]

METHODS: dict[str, type[Method]] = {
    "cyclegan": CycleGAN,
    "stegogan": StegoGAN,
    "pix2pix": Pix2pix,
    "cut": CUT,
    "fastcut": FastCUT,
    "dclgan": DCLGAN,
    "unsb": UNSB,
    "simgan": SimGAN,
    "feature_gan": FeatureGAN,
    "bigan": BiGAN,
    "cogan": CoGAN,
    "masked": Masked,
}

_families = Families("method", Method, METHODS)


def find_method(name: str) -> type[Method]:
    """Return the method of a name, also a user's own: `package.module:Name`, or an installed one's plain name.

    Raises `UserError` where there is none, or where only a folder names it (see `unpaired.core.extensions`).
    """
    return _families.find(name)
