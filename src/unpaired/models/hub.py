"""The Hugging Face hub: models fetched at a commit that is reported, and pushed with their model card.

Only `model.json`, `manifest.json`, `README.md` and safetensors are fetched; they are checked like any model folder, and
nothing in them is executed.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from unpaired.core.cache import user_cache_folder
from unpaired.core.errors import UserError, needs_extra
from unpaired.core.files import atomic_folder, read_json, remove, write_atomic
from unpaired.core.terminal import note
from unpaired.core.text import megabytes, printable
from unpaired.models.folder import CARD, MANIFEST, verify_model
from unpaired.models.model_card import README

FOLDER = "hub"
"""Of the user's cache."""
LARGEST = 4 << 30
"""Bytes of a model that is fetched; published generators have at most 220 MB."""
PATIENCE = 10.0
"""Seconds until a hub that does not answer is given up."""
_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}")
_REVISION = re.compile(r"[\w][\w.\-/]{0,99}")
_REFS = "refs.json"


def parse_name(text: str, revision: str | None = None) -> tuple[str, str]:
    """Return (user/name, revision) of `user/name` or `user/name@revision`; `main` by default. Raises `UserError`."""
    name, _, given = text.partition("@")
    if given and revision and given != revision:
        raise UserError(f"two revisions are given, {printable(given)} and {printable(revision)}. Leave one out.")
    chosen = revision or given or "main"
    if not _NAME.fullmatch(name) or ".." in name or not _REVISION.fullmatch(chosen) or ".." in chosen:
        raise UserError(
            f"{printable(text)[:120]}{f' at {printable(revision)[:60]}' if revision else ''} is no name of a model on "
            "the Hugging Face hub: give USER/NAME, or USER/NAME@REVISION with a branch, a tag or a commit."
        )
    return name, chosen


def pull(text: str, revision: str | None = None, *, quiet: bool = False) -> Path:
    """Fetch a model of the hub into the user's cache and return its folder; the commit is reported.

    Without a network, or with `HF_HUB_OFFLINE=1`, what was fetched before is used. Raises `UserError`: no such model or
    revision, no access, no network and nothing in the cache, or not a model of unpaired.
    """
    name, chosen = parse_name(text, revision)
    place = user_cache_folder() / FOLDER / name.replace("/", "--")
    with needs_extra("hub", f"the model hf:{name}", "huggingface_hub"):
        import huggingface_hub as library
    try:
        with _explained(name, chosen):
            info = library.HfApi(library_name="unpaired").model_info(
                name, revision=chosen, files_metadata=True, timeout=PATIENCE
            )
    except _NoAnswer as error:
        commit = chosen if (place / chosen / CARD).is_file() else _refs(place).get(chosen, "")
        if not (place / commit / CARD).is_file() or not commit:
            raise UserError(f"{error} It was not fetched before, so it is not in the cache either.") from error
        if not quiet:
            note(f"hf:{name} at commit {commit[:12]}, from the cache: the hub cannot be reached.")
        return place / commit
    commit = str(info.sha)
    if not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        raise UserError(f"the hub says that hf:{name} is at commit {printable(commit)[:80]!r}, which is none.")
    folder = place / commit
    if not (folder / CARD).is_file():
        names = _wanted(name, info)
        try:
            with atomic_folder(folder) as temporary, _explained(name, chosen), _bars(quiet):
                library.snapshot_download(
                    name, revision=commit, allow_patterns=names, local_dir=temporary, etag_timeout=PATIENCE
                )
                remove(temporary / ".cache")
                verify_model(temporary)
        except _NoAnswer as error:
            raise UserError(f"{error} It ended in the middle of the download; start it again.") from error
    write_atomic(place / _REFS, json.dumps({**_refs(place), chosen: commit}))
    if not quiet:
        note(f"hf:{name} at commit {commit[:12]} ({chosen}), in {folder}.")
    return folder


def push(
    folder: Path, text: str, *, private: bool = False, revision: str | None = None, message: str = "Model of unpaired"
) -> str:
    """Upload a model folder to the hub, into a repository that is made if need be; return the address of the commit.

    `revision` is a branch, made if need be. Who is logged in, and how, is `huggingface_hub`'s. Raises `UserError`.
    """
    name, chosen = parse_name(text, revision)
    with needs_extra("hub", "pushing a model", "huggingface_hub"):
        import huggingface_hub as library
    api = library.HfApi(library_name="unpaired")
    try:
        with _explained(name, chosen, writes=True):
            api.create_repo(name, private=private, exist_ok=True)
            if chosen != "main":
                api.create_branch(name, branch=chosen, exist_ok=True)
            done = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                revision=chosen,
                commit_message=message,
                allow_patterns=[CARD, MANIFEST, README, "*.safetensors"],
            )
    except _NoAnswer as error:
        raise UserError(f"{error} Nothing is lost: {folder} can be pushed again.") from error
    return str(done.commit_url)


def push_model(
    model: str | Path,
    text: str,
    *,
    checkpoint: str | int | None = None,
    licence: str | None = None,
    private: bool = False,
    revision: str | None = None,
) -> str:
    """Save a model as `saving.save_model` does, with its card, and push it; return the address of the commit."""
    from unpaired.models.folder import find_model
    from unpaired.models.saving import describe, save_model

    name, _ = parse_name(text, revision)
    found, _ = find_model(model, checkpoint)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "model"
        about = replace(describe(found, name), use=f"hf:{name}") if not (found / README).is_file() else None
        save_model(found, out, about=about, licence=licence)
        return push(out, text, private=private, revision=revision)


@contextlib.contextmanager
def _bars(quiet: bool) -> Iterator[None]:
    """Show the client's own progress bars on a terminal alone."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    hide = (quiet or not sys.stderr.isatty()) and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            enable_progress_bars()


class _NoAnswer(Exception):
    """The hub could not be asked."""


@contextlib.contextmanager
def _explained(name: str, revision: str, *, writes: bool = False) -> Iterator[None]:
    """Turn the errors of the hub's client into one message each; `_NoAnswer` where there is no network."""
    from huggingface_hub import errors

    try:
        yield
    except UserError:
        raise
    except errors.GatedRepoError as error:
        raise UserError(
            f"hf:{name} asks for an agreement first: open https://huggingface.co/{name}, then log in here with "
            "`hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"hf:{name} has no revision {revision}. Give one of its branches, tags or commits.") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"there is no model hf:{name} on the Hugging Face hub, or it is private and you are not logged in "
            "(`hf auth login`, or the environment variable HF_TOKEN)."
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            right = "write to" if writes else "read"
            raise UserError(
                f"the Hugging Face hub does not let you {right} hf:{name} ({status}). Log in with `hf auth login`, or "
                "set HF_TOKEN to a token that may."
            ) from error
        raise UserError(f"the Hugging Face hub answered {status} for hf:{name}. Try again later.") from error
    except Exception as error:  # the transport below the client changes with its versions, and so do its errors
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            raise UserError(f"hf:{name}: {printable(str(error))[:300]}") from error
        offline = isinstance(error, errors.OfflineModeIsEnabled)
        why = "HF_HUB_OFFLINE is set" if offline else printable(str(error))[:160] or type(error).__name__
        raise _NoAnswer(f"the Hugging Face hub cannot be asked for hf:{name} ({why}).") from error


def _wanted(name: str, info: Any) -> list[str]:
    """Return the files of a model that are fetched; `UserError` where it is none of unpaired, or too large."""
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or ()}
    if not {CARD, MANIFEST} <= set(sizes):
        raise UserError(
            f"hf:{name} is not a model of unpaired: it has no {CARD} and {MANIFEST}. The weights of another program "
            "(.pth, .safetensors of a generator) can be downloaded and converted: unpaired convert."
        )
    weights = [each for each in sizes if re.fullmatch(r"[\w.\-]+\.safetensors", each)]
    wanted = [*weights, *(each for each in (CARD, MANIFEST, README) if each in sizes)]
    if (size := sum(sizes[each] for each in wanted)) > LARGEST:
        raise UserError(f"hf:{name} has {megabytes(size)}, more than {megabytes(LARGEST)}. It is not fetched.")
    return wanted


def _refs(place: Path) -> dict[str, str]:
    """Return the commits that revisions stood for when they were fetched."""
    try:
        found = read_json(place / _REFS)
    except UserError:
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str) and re.fullmatch(r"[\w]{1,64}", value)}
