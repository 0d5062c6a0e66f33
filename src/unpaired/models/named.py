"""Models by name: those that come with the package, the authors' published ones, and those on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.text import listing, printable

SHIPPED, PUBLISHED, HUB = "demo/", "model/", "hf:"
"""How a name begins: `demo/fish`, `model/horse2zebra`, `hf:user/name` (or `hf:user/name@revision`)."""
NAMES = f"{SHIPPED}NAME, {PUBLISHED}NAME or {HUB}USER/NAME"
_FOLDER = Path(__file__).parent / "shipped"


def is_model_name(text: str | Path) -> bool:
    """Say whether this is the name of a model and no path: a file or folder of that name comes first."""
    return str(text).startswith((SHIPPED, PUBLISHED, HUB)) and not Path(text).exists()


def model_path(text: str | Path) -> Path:
    """Return where a model lies that a user names: a path as it is, and a name as the folder that it stands for.

    A published model and one of the hub come into the user's cache first, and what was downloaded is reported. Raises
    `UserError` that names the nearest where there is none of this name, or says why it cannot be had.
    """
    if not is_model_name(text):
        return Path(text)
    name = str(text)
    if name.startswith(HUB):
        from unpaired.models.hub import pull

        return pull(name.removeprefix(HUB))
    if name.startswith(PUBLISHED):
        from unpaired.models.pretrained import fetch_model, find_pretrained

        return fetch_model(find_pretrained(name.removeprefix(PUBLISHED)))
    there = shipped()
    wanted = name.removeprefix(SHIPPED)
    if wanted not in there:
        named = listing([f"{SHIPPED}{each}" for each in there])
        raise UserError(
            f"no model called {printable(name)[:100]} comes with the package.{did_you_mean(wanted, there)} "
            f"Those that do: {named or 'none'}."
        )
    return there[wanted]


def shipped() -> dict[str, Path]:
    """Return the folders of the models that come with the package, by name."""
    return {path.parent.name: path.parent for path in sorted(_FOLDER.glob("*/model.json"))}
