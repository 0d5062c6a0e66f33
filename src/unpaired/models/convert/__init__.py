"""Weight files of other programs, turned into model folders and back."""

from unpaired.models.convert.files import from_files, to_file
from unpaired.models.convert.recognise import Converted, convert_weights, recognise
from unpaired.models.convert.weights import (
    official_discriminator,
    official_generator,
    pytorch_gan_generator,
    to_official,
)
from unpaired.networks.weight_files import read_weights

__all__ = [
    "Converted",
    "convert_weights",
    "from_files",
    "official_discriminator",
    "official_generator",
    "pytorch_gan_generator",
    "read_weights",
    "recognise",
    "to_file",
    "to_official",
]
