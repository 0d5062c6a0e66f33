"""`unpaired download` and `push`: data sets and models from the web, and a model to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import Checkpoint, Quiet, Switch
from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.terminal import note, say, show
from unpaired.core.text import megabytes, printable

if TYPE_CHECKING:
    from unpaired.data.catalogue import Dataset
    from unpaired.report.results import Table


@app.command
def download(
    name: Annotated[str | None, Parameter(help="A data set, model/NAME or hf:USER/NAME. [default: list all]")] = None,
    /,
    *,
    out: Path | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    quiet: Quiet = False,
) -> int:
    """Bring a published data set, a published generator or a model of the Hugging Face hub to this machine.

    unpaired download

    unpaired download horse2zebra --out horse2zebra

    unpaired download model/style_monet

    Where a download was interrupted, the same command goes on where it stopped. Licence and source are printed.

    Parameters
    ----------
    out
        New folder; by default the user's cache, from which --data NAME and model/NAME take it.
    from_
        A file at hand or another address, in place of the published ones; its checksum must be right all the same.
    """
    from unpaired.data.catalogue import catalogue, fetch_dataset
    from unpaired.models.named import HUB, PUBLISHED, SHIPPED
    from unpaired.report.tables import to_terminal

    if name is None:
        if out is not None or from_ is not None:
            raise UserError("--out and --from belong to a NAME: say what to download. Without both, all is listed.")
        for table in _listing():
            show(to_terminal(table, whole_names=True))
        return 0
    try:
        if name.startswith(PUBLISHED):
            from unpaired.models.pretrained import fetch_model, find_pretrained

            folder = fetch_model(find_pretrained(name.removeprefix(PUBLISHED)), out=out, given=from_, quiet=quiet)
        elif name.startswith((HUB, SHIPPED)):
            if from_ is not None:
                raise UserError(f"--from has no meaning for {printable(name)}. Leave it out.")
            folder = _copied(name, out)
        elif name in catalogue():
            folder = fetch_dataset(catalogue()[name], out=out, given=from_, quiet=quiet)
        else:
            raise UserError(_unknown(name))
    except KeyboardInterrupt:
        note("Stopped. What was received is kept: the same command goes on where it stopped.")
        raise
    say(str(folder))
    return 0


def _copied(name: str, out: Path | None) -> Path:
    from unpaired.models.named import model_path
    from unpaired.models.saving import save_model

    folder = model_path(name)
    if out is None:
        return folder
    save_model(folder, out)
    return out


def _unknown(name: str) -> str:
    from unpaired.data.catalogue import catalogue
    from unpaired.models.named import PUBLISHED
    from unpaired.models.pretrained import pretrained

    names = [*catalogue(), *(f"{PUBLISHED}{each}" for each in pretrained())]
    return (
        f"there is no data set or model called {printable(name)[:100]!r} to download.{did_you_mean(name, names)} "
        "`unpaired download` lists all of them; a model of the Hugging Face hub is hf:USER/NAME."
    )


def _listing() -> list[Table]:
    from unpaired.data.catalogue import catalogue
    from unpaired.data.directions import heading
    from unpaired.models.folder import read_card
    from unpaired.models.named import PUBLISHED, SHIPPED, shipped
    from unpaired.models.pretrained import pretrained
    from unpaired.report.results import Table

    def size(dataset: Dataset) -> str:
        known = megabytes(dataset.size) if dataset.size else dataset.about and f"about {dataset.about}"
        return known if dataset.urls else "with an account"

    cards = {f"{SHIPPED}{name}": read_card(folder) for name, folder in shipped().items()}
    ways = {name: ", ".join(heading(way, card.domains) for way in card.translators) for name, card in cards.items()}
    return [
        Table(
            title="Data sets, for --data NAME",
            columns=("data set", "images", "size", "checksum"),
            rows=tuple((each.name, each.title, size(each), each.checksum) for each in catalogue().values()),
        ),
        Table(
            title="Generators of the authors",
            columns=("model", "translates", "by", "data"),
            rows=tuple((f"{PUBLISHED}{m.name}", m.title, m.method, m.data) for m in pretrained().values()),
        ),
        Table(
            title="Models that come with the package: nothing to download",
            columns=("model", "translates", "by", "licence"),
            rows=tuple((name, ways[name], card.method or "", card.licence or "") for name, card in cards.items()),
        ),
    ]


@app.command
def push(
    model: Path,
    name: Annotated[str, Parameter(name="USER/NAME")],
    /,
    *,
    licence: str | None = None,
    private: Switch = False,
    revision: str | None = None,
    checkpoint: Checkpoint = None,
    quiet: Quiet = False,
) -> int:
    """Upload a model to the Hugging Face hub, with a model card; log in first with `hf auth login`.

    unpaired push runs/h2z your-name/horse2zebra --licence cc-by-4.0

    Parameters
    ----------
    model
        A run, a checkpoint, a model folder, or a name.
    name
        Where it goes; the repository is made if need be.
    licence
        Of the weights, as the hub names it (apache-2.0, cc-by-4.0, ...) or in words. [default: what the model says]
    private
        Make the repository private, where it is new.
    revision
        Branch, made if need be. [default: main]
    """
    from unpaired.models.hub import push_model

    url = push_model(model, name, private=private, revision=revision, licence=licence, checkpoint=checkpoint)
    say(url if quiet else f"Pushed: {printable(url)}\nTranslate with it: unpaired translate hf:{name} IMAGES --out OUT")
    return 0
