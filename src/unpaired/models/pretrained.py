"""The authors' published generators: downloaded, converted, and described as a model folder."""

from __future__ import annotations

import functools
import os
import tempfile
import tomllib
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import filelock
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from unpaired.core.archive import unpack
from unpaired.core.cache import user_cache_folder
from unpaired.core.download import WebFile
from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.files import require_new, require_writable
from unpaired.core.settings import STRICT
from unpaired.core.terminal import note
from unpaired.core.text import printable
from unpaired.data.catalogue import Dataset, catalogue, receive
from unpaired.data.directions import Direction
from unpaired.data.scale import Scale
from unpaired.models.folder import CARD, ModelCard, write_model
from unpaired.models.named import PUBLISHED

FOLDER = "models"
"""Of the user's cache."""
SIZE = (256, 256)
"""(height, width) of the images that all of them were trained on."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Pretrained:
    """One generator; `pretrained.toml` holds it in two parts, the family's and its own."""

    name: str
    """Under which it is downloaded: the authors' with the family's prefix."""
    method: str
    url: str
    member: str = ""
    """The file in the archive at `url`; empty where that is the file itself."""
    source: str
    """Page of its makers."""
    data: str
    """Name of the data set that it was trained on."""
    direction: Direction
    paired: bool = False
    """Whether it was trained on pairs."""
    size: int | None = None
    """Bytes of the file, where they are known."""

    @property
    def dataset(self) -> Dataset:
        """What it was trained on."""
        return catalogue()[self.data]

    @property
    def title(self) -> str:
        """What it does, in the domains' names: `horse to zebra`."""
        ends = (self.dataset.a, self.dataset.b)
        return " to ".join(ends if self.direction == "a2b" else ends[::-1])


@functools.cache
def pretrained() -> dict[str, Pretrained]:
    """Return the published generators by name."""
    content = tomllib.loads((files("unpaired.models") / "pretrained.toml").read_text(encoding="utf-8"))
    found = {}
    for family, described in content.pop("families").items():
        prefix = described.pop("prefix")
        for name, entry in content[family].items():
            own = {key: described[key].format(name=name) for key in ("url", "member") if key in described}
            found[prefix + name] = {"name": prefix + name, **described, **own, **entry}
    return TypeAdapter(dict[str, Pretrained]).validate_python(found)


def find_pretrained(name: str) -> Pretrained:
    """Return the published generator of a name; `UserError` that names the nearest where there is none."""
    found = pretrained().get(name)
    if found is None:
        raise UserError(
            f"the authors have published no model called {printable(name)[:100]!r}.{did_you_mean(name, pretrained())} "
            "`unpaired download` lists all of them."
        )
    return found


def fetch_model(model: Pretrained, *, out: Path | None = None, given: str | None = None, quiet: bool = False) -> Path:
    """Bring a published generator into a new model folder, by default in the user's cache, and return the folder.

    `given` is the .pth file, or CUT's archive, at hand or at another address. Nothing in it is executed. Raises
    `UserError`.
    """
    cache = user_cache_folder()
    folder = cache / FOLDER / model.name if out is None else out
    if out is not None:
        require_new(out)
        require_writable(out)
    elif (folder / CARD).is_file():
        return folder
    (cache / FOLDER).mkdir(exist_ok=True)
    with filelock.FileLock(cache / FOLDER / f"{model.name}.lock"):
        if out is None and (folder / CARD).is_file():
            return folder
        if not quiet:
            note(
                f"{PUBLISHED}{model.name}: {model.title}, a generator by {model.method} of its authors\n"
                f"  trained on: {model.data}, licence {model.dataset.licence}\n  source:     {model.source}\n"
                f"  from:       {printable(given or model.url)}\n  to:         {folder}"
            )
        file = os.path.basename(urlsplit(model.url).path) if model.member else f"{model.name}.pth"
        web = WebFile(urls=(model.url,), size=model.size)
        keep = bool(model.member)  # the archive holds five more
        with (
            receive(web, file, given=given, what=model.name, quiet=quiet, keep=keep) as received,
            tempfile.TemporaryDirectory() as place,
        ):
            weights = received.path
            if model.member and weights.suffix != ".pth":
                unpack(weights, Path(place) / "one", rename=functools.partial(_only, model.member))
                weights = Path(place) / "one" / "latest_net_G.pth"
            _convert(model, weights, folder, received.sha256)
    if not quiet:
        note(f"{folder} is ready; SHA-256 of the file {received.sha256}, no checksum is published.")
    return folder


def _only(member: str, path: str) -> str | None:
    return os.path.basename(member) if f"/{path}".endswith(f"/{member}") else None


def _convert(model: Pretrained, weights: Path, folder: Path, sha256: str) -> None:
    from unpaired import __version__
    from unpaired.models.convert.files import read_part
    from unpaired.models.model_card import About, readme

    part = read_part(weights, model.direction)
    dataset = model.dataset
    ends = {"a": part.source, "b": part.target} if model.direction == "a2b" else {"a": part.target, "b": part.source}
    card = ModelCard(
        origin=f"{model.method} of its authors, {model.name} ({model.url}, SHA-256 {sha256})",
        domains={"a": replace(ends["a"], name=dataset.a), "b": replace(ends["b"], name=dataset.b)},
        translators={model.direction: part.translator},
        training_size=SIZE,
        scale=Scale(preprocess="resize_and_crop", load_size=SIZE, crop_size=SIZE),
        paired=model.paired,
        licence=f"none stated for the weights; data: {dataset.licence}",
        versions={"unpaired": __version__},
    )
    about = About(name=model.name, data=f"{dataset.title} ({dataset.source})", method=model.method)
    write_model(folder, card, {part.translator.weights: part.state}, readme=readme(card, about))
