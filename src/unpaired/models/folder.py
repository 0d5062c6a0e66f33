"""What is remembered: a folder of safetensors and plain JSON that describes itself.

A **model folder** holds `model.json` (what the model is), one weights file per direction, and `manifest.json` with the
size and SHA-256 of every file and of itself. A **checkpoint** is a model folder that also holds the training state, so
every checkpoint can be translated with as it is. Nothing is ever pickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from unpaired.core.errors import UserError
from unpaired.core.extensions import Kind
from unpaired.core.files import atomic_folder, open_regular, read_regular, real_path, sync
from unpaired.core.settings import STRICT, option
from unpaired.core.text import listing
from unpaired.data.scale import Scale
from unpaired.data.values import Domain, domain_to_json
from unpaired.models.named import NAMES, model_path

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
CARD = "model.json"
CHECKPOINTS = "checkpoints"
"""Folder of a run that holds its checkpoints, each named by the number of images seen."""
BEST = "best"
"""Folder of a run that holds its best checkpoint, see `unpaired.models.best`."""
_LARGEST = {MANIFEST: 1 << 20, CARD: 1 << 20, ".json": 1 << 26, ".safetensors": 1 << 36}
"""Bytes of a file that is read, by its name or suffix."""


class DamagedError(UserError):
    """A folder's files are not what was written: truncated, altered or missing."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class TranslatorCard:
    """One direction: the network and the file that holds its weights."""

    network: dict[str, Any]
    """The network's description, see `unpaired.networks.describe_generator`."""
    weights: str
    """Name of the safetensors file in the same folder."""
    search: bool | None = None
    """Whether it translates by a search; None in models of earlier versions, see `is_search`."""

    @property
    def is_search(self) -> bool:
        """Whether it translates by a search, an optimisation for each image, in place of a network."""
        if self.search is not None:
            return self.search
        from unpaired.networks import generator_class

        return generator_class(self.network).is_search


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class ModelCard:
    """Everything that a translator needs to know; the content of `model.json`."""

    format: str = "unpaired-model"
    format_version: int = FORMAT_VERSION
    method: str | None = None
    """The method that trained it, None for converted weights."""
    origin: Annotated[str, Field(max_length=4000)]
    """One sentence: where the weights come from."""
    images_seen: int | None = None
    """Training images per domain so far."""
    training_size: tuple[int, int] | None = None
    """(height, width) of the training images, None where they kept sizes of their own or it is not known."""
    averaged: bool = False
    """Whether the weights are an exponential moving average over training."""
    domains: dict[str, Domain]
    """`a` and `b`."""
    translators: dict[str, TranslatorCard]
    """`a2b`, `b2a` or one of them."""
    scale: Scale | None = None
    """The size at which networks saw whole images in training; None where that is not known."""
    paired: bool | None = None
    """Whether its method learns from pairs; None in models of earlier versions and for converted weights."""
    side_by_side: Literal["ab", "ba"] | None = None
    """Trained on halves of side-by-side files: which domain stands left and which right."""
    licence: str | None = None
    """Under which the weights may be used; None where nobody said."""
    extensions: dict[Kind, list[str]] = field(default_factory=dict)
    """What of the user's own it needs, by kind: `package.module:Name`, or an installed extension's name."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the software that wrote it."""

    def domains_of(self, direction: str) -> tuple[Domain, Domain]:
        """Return the domains that a direction comes from and leads to."""
        source, target = direction.split("2")
        return self.domains[source], self.domains[target]


# ---------------------------------------------------------------------------------------------------------- writing


def write_model(
    folder: Path,
    card: ModelCard,
    tensors: Mapping[str, Mapping[str, Tensor]],
    documents: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    readme: str | None = None,
) -> None:
    """Write a model folder atomically: either all of it is there afterwards, on the disk, or none.

    `tensors` maps file names (`a2b.safetensors`, ...) to state dicts, `documents` further JSON file names to contents;
    `readme` is a text for people, which the manifest leaves out, since they may edit it. An existing folder is
    replaced. Raises `UserError` when the disk is full or the place cannot be written.
    """
    write_folder(folder, tensors, {CARD: card_to_json(card), **(documents or {})}, readme=readme)


def write_folder(
    folder: Path,
    tensors: Mapping[str, Mapping[str, Tensor]],
    documents: Mapping[str, Mapping[str, Any]],
    *,
    readme: str | None = None,
) -> None:
    """Write a folder of weights and JSON with its manifest, which `verify` checks; as `write_model` does."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_folder(folder) as temporary:
        for name, state in tensors.items():
            with (temporary / name).open("wb"):  # an empty file first, for the mode that the user's files have
                mode = (temporary / name).stat().st_mode
            try:
                save_file(independent(state), temporary / name)
            except SafetensorError as error:  # holds the number of the system's error in its words alone
                number = int(found[1]) if (found := re.search(r"os error (\d+)", str(error))) else errno.EIO
                raise OSError(number, os.strerror(number)) from error
            (temporary / name).chmod(mode)  # safetensors writes files that nobody else may read
        _write_documents(temporary, documents)
        files = {path.name: _fingerprint(path) for path in sorted(temporary.iterdir())}
        if readme is not None:
            (temporary / "README.md").write_text(readme, encoding="utf-8")
        _complete(temporary, files)


def link_folder(folder: Path, source: Path, documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a folder of the same files as `source`, which has a manifest, and of further documents; atomically.

    Files are hard links where the file system has them, else copies. An existing folder is replaced. Raises
    `DamagedError` where `source` has no manifest that can be read, `UserError` as `write_model` does.
    """
    files = _read_manifest(source)
    with atomic_folder(folder) as temporary:
        for name in files:
            try:
                os.link(source / name, temporary / name)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source / name, temporary / name)
        _write_documents(temporary, documents)
        _complete(temporary, {**files, **{name: _fingerprint(temporary / name) for name in documents}})


def _write_documents(folder: Path, documents: Mapping[str, Mapping[str, Any]]) -> None:
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _complete(folder: Path, files: Mapping[str, Any]) -> None:
    manifest = {"files": files, "sha256": _manifest_digest(files)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def independent(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors on the CPU, with copies of those that share memory, which safetensors refuses."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in state.items():
        tensor = value.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        tensors[key] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return tensors


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _manifest_digest(files: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def card_to_json(card: ModelCard) -> dict[str, Any]:
    """Return the content of `model.json`."""
    domains = {name: domain_to_json(domain) for name, domain in card.domains.items()}
    unset = {"licence"} if card.licence is None else set()  # earlier versions do not know it
    return {key: value for key, value in asdict(card).items() if key not in unset} | {"domains": domains}


# ---------------------------------------------------------------------------------------------------------- reading


def verify(folder: Path, names: list[str] | None = None, *, at_most: int | None = None) -> None:
    """Check that files of a model folder are exactly what was written; `DamagedError` says which are not.

    `names` are the files to check, all of them by default; `at_most` are the bytes that one of them may have.
    """
    files = _read_manifest(folder)
    for name in names if names is not None else list(files):
        if name not in files:  # and may be any string
            raise DamagedError(f"{folder} is damaged: {name} is missing.")
        most = at_most or _LARGEST.get(name) or _LARGEST.get(Path(name).suffix, 1 << 26)
        try:
            with open_regular(folder / name, at_most=most, inside=folder) as file:
                size = os.fstat(file.fileno()).st_size
                digest = hashlib.file_digest(file, "sha256").hexdigest() if size == files[name]["bytes"] else ""
        except OSError as error:
            what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise DamagedError(f"{folder} is damaged: {name} {what}.") from error
        except UserError as error:
            raise DamagedError(f"{folder} is damaged: {error}") from error
        if size != files[name]["bytes"]:
            raise DamagedError(f"{folder} is damaged: {name} has {size} bytes in place of {files[name]['bytes']}.")
        if digest != files[name]["sha256"]:
            raise DamagedError(f"{folder} is damaged: the content of {name} has changed (its checksum differs).")


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(read_regular(folder / MANIFEST, at_most=_LARGEST[MANIFEST], inside=folder))
        files: dict[str, Any] = manifest["files"]
        whole = manifest["sha256"] == _manifest_digest(files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{folder} is damaged: {MANIFEST} cannot be read ({error}).") from error
    if not whole:
        raise DamagedError(f"{folder} is damaged: {MANIFEST} has changed (its checksum differs).")
    # Checksums say that a file is whole, not that it is well-meant.
    if not isinstance(files, dict) or not all(_is_entry(name, entry) for name, entry in files.items()):
        raise DamagedError(f"{folder} is damaged: {MANIFEST} does not list files of this folder.")
    return files


def _is_entry(name: str, entry: object) -> bool:
    plain = Path(name).name == name and name not in ("", "..") and "\0" not in name
    return plain and isinstance(entry, dict) and {"bytes", "sha256"} <= set(entry)


def read_card(folder: Path) -> ModelCard:
    """Return what a model folder says of itself, after checking that the file is intact."""
    verify(folder, [CARD])
    document = read_document(folder, CARD)
    if document.get("format") != "unpaired-model":
        raise UserError(f"{folder / CARD} is not a model of unpaired: its format is {document.get('format')!r}.")
    version = document.get("format_version", 0)
    if not isinstance(version, int):
        raise UserError(f"{folder / CARD} is not a model of unpaired: its format version is {version!r}.")
    if version > FORMAT_VERSION:
        raise UserError(
            f"{folder} was written by a newer version of unpaired (format {version}; this version "
            f"reads up to {FORMAT_VERSION}). Update unpaired."
        )
    try:
        return TypeAdapter(ModelCard).validate_python(document)
    except ValidationError as error:
        raise UserError(f"{folder / CARD} is not a valid model description: {error.errors()[0]['msg']}.") from error


def read_document(folder: Path, name: str) -> dict[str, Any]:
    """Return one JSON file of a model folder."""
    try:
        most = _LARGEST.get(name, _LARGEST[".json"])
        document = json.loads(read_regular(folder / name, at_most=most, inside=folder).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{folder} is damaged: {name} cannot be read ({error}).") from error
    if not isinstance(document, dict):
        raise DamagedError(f"{folder} is damaged: {name} does not hold a JSON object.")
    return document


def read_tensors(folder: Path, name: str, *, at_most: int | None = None) -> dict[str, Tensor]:
    """Return one safetensors file of a model folder, after checking that it is intact and no larger than allowed."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if Path(name).name != name:
        raise DamagedError(f"{folder} is damaged: {CARD} names a file outside the folder ({name!r}).")
    verify(folder, [name], at_most=at_most)
    try:
        return load_file(folder / name)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedError(f"{folder} is damaged: {name} cannot be read ({error}).") from error


# ---------------------------------------------------------------------------------------------------------- finding


def checkpoints_of(run: Path) -> list[Path]:
    """Return a run's checkpoint folders, newest (most images seen) first; damaged ones are still among them."""
    folder = run / CHECKPOINTS
    if not folder.is_dir():
        return []
    return sorted(
        (p for p in folder.iterdir() if re.fullmatch(r"[0-9]{9,20}", p.name) and p.is_dir()),
        key=lambda p: -int(p.name),
    )


def checkpoint_folder(run: Path, images: int) -> Path:
    """Return where a run's checkpoint after so many images lies."""
    return run / CHECKPOINTS / f"{images:09d}"


def newest_checkpoint(run: Path, *, to_translate: bool = False) -> tuple[Path, list[str]]:
    """Return the newest intact checkpoint of a run, and a message for each damaged one that was passed over.

    With `to_translate` only what a translator reads is checked: optimisers and pools may be damaged.
    """
    messages = []
    for folder in checkpoints_of(run):
        try:
            verify_model(folder) if to_translate else verify(folder)
        except DamagedError as error:
            messages.append(f"{error} Using the checkpoint before it.")
            continue
        return folder, messages
    raise UserError(" ".join([*messages, f"{run} has no usable checkpoint."]))


def verify_model(folder: Path) -> None:
    """Check the files of a model folder that a translator reads: the card and the translators' weights."""
    verify(folder, [translator.weights for translator in read_card(folder).translators.values()])


def find_model(path: str | Path, checkpoint: str | int | None = None) -> tuple[Path, list[str]]:
    """Return the model folder that MODEL names, and messages for damaged checkpoints that were passed over.

    `path` is a run, a checkpoint, any model folder, or a name (see `named`). Of a run, `checkpoint` names `best`,
    `last` (the newest) or a number of images; by default the best where there is one, else the newest. Raises
    `UserError`.
    """
    path = model_path(path)
    if not path.exists():
        raise UserError(f"there is no model at {path}. Give a run, a checkpoint, a model folder, or {NAMES}.")
    if path.is_file() and path.name in (CARD, MANIFEST):
        path = path.parent
    if path.is_file():
        remedy = "Convert it first: unpaired convert FILE --out MODEL." if path.suffix in (".pth", ".pt") else ""
        raise UserError(
            f"{path} is a file. A model is a folder: a run, a checkpoint or a model folder. {remedy}".strip()
        )
    if (path / CARD).is_file() or (path / MANIFEST).is_file():
        if checkpoint is not None:
            raise UserError(
                f"{option('checkpoint', checkpoint)}: {path} is a single model and not a run, so there is nothing to "
                "choose. Leave it out, or give the run."
            )
        return path, []
    if not (path / CHECKPOINTS).is_dir() and not (path / BEST).is_dir():
        raise UserError(
            f"{path} is not a model: it holds neither {CARD} nor a {CHECKPOINTS} folder. "
            "Give a run, a checkpoint or a model folder."
        )
    return _choose_checkpoint(path, checkpoint)


def _choose_checkpoint(run: Path, checkpoint: str | int | None) -> tuple[Path, list[str]]:
    if checkpoint is None:
        if not (run / BEST).is_dir():
            return newest_checkpoint(run, to_translate=True)
        try:
            verify_model(run / BEST)
        except DamagedError as error:
            folder, messages = newest_checkpoint(run, to_translate=True)
            return folder, [f"{error} Using the newest checkpoint instead of the best.", *messages]
        return run / BEST, []
    if checkpoint == "last":
        return newest_checkpoint(run, to_translate=True)
    if checkpoint == BEST:
        if not (run / BEST).is_dir():
            raise UserError(
                f"{option('checkpoint', BEST)}: {run} has no best checkpoint, since nothing was evaluated while it was "
                "trained. Choose last or a number of images."
            )
        return run / BEST, []
    text = str(checkpoint)
    there = [str(int(folder.name)) for folder in reversed(checkpoints_of(run))]
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UserError(f"{option('checkpoint', text)}: allowed are best, last or a number of images.")
    if str(int(text)) not in there:
        raise UserError(
            f"{option('checkpoint', text)}: {run} has no checkpoint after {int(text):,} images. "
            + (f"It has {listing(there)}." if there else "It has none.")
        )
    return checkpoint_folder(run, int(text)), []


def checkpoint_title(folder: Path, card: ModelCard) -> str:
    """Return how people name a model: `best checkpoint (12,000 images)`, `checkpoint of 12,000 images`, `model h2z`."""
    name, seen = real_path(folder).name, card.images_seen
    if seen is None or not (name == BEST or name.isdigit()):
        return f"model {name}" if seen is None else f"model {name} ({seen:,} images)"
    return f"best checkpoint ({seen:,} images)" if name == BEST else f"checkpoint of {seen:,} images"
