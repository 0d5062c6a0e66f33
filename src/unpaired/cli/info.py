"""What `unpaired info` says of a model, a run, a folder of images or one image: plain data first, then its display."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from unpaired.cli.info_images import DESCRIBABLE, Progress, describe_file, describe_folder
from unpaired.core.errors import UserError
from unpaired.core.files import read_json
from unpaired.core.text import duration, number, plural, printable, small_percent
from unpaired.data.labels import Labels
from unpaired.data.values import domain_to_json
from unpaired.models import folder as folders
from unpaired.models.folder import CARD, CHECKPOINTS, MANIFEST, ModelCard
from unpaired.report.results import Table
from unpaired.report.tables import to_terminal


def describe(path: str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Return what a path holds, as plain data that JSON can carry; `kind` is `model`, `run`, `data` or `image`.

    Images are read in full the first time, and their properties remembered; `progress` is called with the count.
    Raises `UserError` for a path that is none of these, or a model whose own description is damaged. Files that are
    damaged beside an intact description are reported in the result (`intact`, `damage`).
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is nothing at {printable(path)}. Give {DESCRIBABLE}.")
    if path.is_file() and path.name in (CARD, MANIFEST):
        path = path.parent
    if path.is_file():
        return describe_file(path)
    if not path.is_dir():
        raise UserError(f"{printable(path)} is neither a regular file nor a folder. Give {DESCRIBABLE}.")
    if (path / CARD).is_file() or (path / MANIFEST).is_file():
        return _describe_model(path)
    if (path / CHECKPOINTS).is_dir() or _run_config(path):
        return _describe_run(path)
    return describe_folder(path, progress)


def _describe_model(folder: Path) -> dict[str, Any]:
    card = folders.read_card(folder)
    return {
        "kind": "model",
        "path": str(folder),
        "method": card.method,
        "origin": card.origin,
        "images_seen": card.images_seen,
        "training_size": list(card.training_size) if card.training_size else None,
        "averaged": card.averaged,
        "domains": {name: domain_to_json(domain) for name, domain in card.domains.items()},
        "directions": {name: _describe_direction(card, name) for name in sorted(card.translators)},
        "versions": dict(card.versions),
        **_integrity(folder),
    }


def _describe_direction(card: ModelCard, direction: str) -> dict[str, Any]:
    import torch

    from unpaired.networks import generator_from_description

    translator = card.translators[direction]
    with torch.device("meta"):  # only its shapes are asked for
        network = generator_from_description(translator.network)
    return {
        "architecture": translator.network,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        "size_multiple": network.size_multiple,
        "minimum_size": network.minimum_size,
        "weights": translator.weights,
    }


def _integrity(folder: Path) -> dict[str, Any]:
    """Return the sizes of a model folder's files and whether all of them are what was written."""
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    damage = None
    try:
        folders.verify(folder)
    except folders.DamagedError as error:
        damage = str(error)
    return {"files": files, "bytes": sum(files.values()), "intact": damage is None, "damage": damage}


def _run_config(folder: Path) -> dict[str, Any]:
    """Return a run's configuration, empty where the folder holds none."""
    try:
        config = read_json(folder / "config.json", inside=folder)
    except (OSError, ValueError):
        return {}
    return config if {"method", "training"} <= set(config) else {}


def _describe_run(run: Path) -> dict[str, Any]:
    from unpaired.models.best import describe_best

    config = _run_config(run)
    method = config.get("method")
    named = method.get("name") if isinstance(method, dict) else method
    checkpoints = [_describe_checkpoint(folder) for folder in folders.checkpoints_of(run)]
    samples = run / "samples"
    page = run / "index.html"
    return {
        "kind": "run",
        "path": str(run),
        "method": named if isinstance(named, str) else None,
        **_progress(run, config),
        "best": describe_best(run),
        "checkpoints": checkpoints,
        "bytes": sum(checkpoint["bytes"] for checkpoint in checkpoints),
        "samples": sum(1 for path in samples.glob("*.png") if path.is_file()) if samples.is_dir() else 0,
        "page": str(page) if page.is_file() else None,
        "resume": f"unpaired train --resume {run}" if any(c["intact"] for c in checkpoints) else None,
        "config": config,
    }


def _describe_checkpoint(folder: Path) -> dict[str, Any]:
    integrity = _integrity(folder)
    del integrity["files"]
    return {"name": folder.name, "images": int(folder.name), **integrity}


def _progress(run: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far a run came, from its log."""
    from unpaired.report.run_log import means_among, read_metrics

    records = read_metrics(run)
    measured = means_among(records)
    events = [record for record in records if "event" in record]
    last: Mapping[str, Any] = measured[-1] if measured else {}
    ended = next(
        (e["event"] for e in reversed(records) if e.get("event") in ("finished", "interrupted", "resumed")), None
    )
    return {
        "state": ended if ended in ("finished", "interrupted") else "unfinished" if records else "not started",
        "images": last.get("images"),
        "epoch": last.get("epoch"),
        "epochs": _epochs(config),
        "seconds": last.get("seconds"),
        "images_per_second": last.get("images_per_second"),
        "losses": dict(last.get("losses") or {}),
        "warnings": [event.get("text") for event in events if event["event"] == "warning"],
    }


def _epochs(config: Mapping[str, Any]) -> int | None:
    from unpaired.core.given import Given, flatten, settings_of
    from unpaired.training.config import TrainingConfig

    training = config.get("training")
    if not isinstance(training, Mapping):
        return None
    record = Given(flatten(training, "training."), "{name}", record=True)
    try:
        epochs: int = settings_of("training", TrainingConfig, [record]).total_epochs
    except UserError:
        return None  # written by another version, or damaged: the rest is still worth saying
    return epochs


def render(description: Mapping[str, Any]) -> RenderableType:
    """Return what `describe` found as something that `rich` prints."""
    displays = {"model": _show_model, "run": _show_run, "data": _show_data, "image": _show_image}
    title = Text(f"{description['kind']}  {printable(description['path'])}", style="bold", overflow="fold")
    return Group(title, *displays[description["kind"]](description))


def _show_model(model: Mapping[str, Any]) -> list[RenderableType]:
    general = {
        "origin": model["origin"],
        "method": model["method"],
        "images seen": _number(model["images_seen"]),
        "trained at": _size(model["training_size"]),
        "weights": "averaged over training" if model["averaged"] else None,
        **{f"domain {name}": _domain(domain) for name, domain in model["domains"].items()},
        **{name: _direction(direction) for name, direction in model["directions"].items()},
        "files": ", ".join(f"{name} ({_bytes(size)})" for name, size in model["files"].items()),
        "integrity": _integrity_line(model),
        "written by": ", ".join(f"{name} {version}" for name, version in model["versions"].items()),
    }
    return [_pairs(general)]


def _direction(direction: Mapping[str, Any]) -> str:
    settings = {key: value for key, value in direction["architecture"].items() if not key.endswith("_channels")}
    family = settings.pop("family", "network")
    described = ", ".join(
        f"{key} {_value(value) if isinstance(value, Mapping | list) else value}" for key, value in settings.items()
    )
    channels = f"{direction['in_channels']} to {direction['out_channels']} channels"
    return f"{family} ({described}), {channels}, {_number(direction['parameters'])} parameters"


def _domain(domain: Mapping[str, Any]) -> str:
    values = "by type" if domain["range"] is None else " to ".join(f"{value:g}" for value in domain["range"])
    if domain.get("labels"):
        names = f": {', '.join(domain['labels']['names'])}" if domain["labels"]["names"] else ""
        found = f"{Labels(**domain['labels']).in_words()}{names}"
    else:
        unit = f" {domain['unit']}" if domain.get("unit") else ""
        found = f"{plural(domain['channels'], 'channel')}, {domain['dtype']}, values {values}{unit}"
    return f"{domain['name']}: {found}" if domain.get("name") else found


def _integrity_line(found: Mapping[str, Any]) -> str:
    return "intact" if found["intact"] else str(found["damage"])


def _show_run(run: Mapping[str, Any]) -> list[RenderableType]:
    epoch = "" if run["epoch"] is None else f"{run['epoch']:.4g}" + (f" of {run['epochs']}" if run["epochs"] else "")
    general = {
        "method": run["method"],
        "state": run["state"],
        "epoch": epoch,
        "images seen": _number(run["images"]),
        "training time": None if run["seconds"] is None else duration(run["seconds"]),
        "speed": None if run["images_per_second"] is None else f"{run['images_per_second']:.3g} images per second",
        "last losses": ", ".join(
            f"{name} {'not finite' if value is None else number(value)}" for name, value in run["losses"].items()
        ),
        **{f"warning {number}": text for number, text in enumerate(run["warnings"], 1)},
        **_settings(run["config"]),
        "samples": _number(run["samples"]),
        "page": run["page"],
        "best": run["best"],
        "to resume": run["resume"],
    }
    rows = tuple((each["name"], _bytes(each["bytes"]), _integrity_line(each)) for each in run["checkpoints"])
    if not rows:
        return [_pairs(general), Text("no checkpoint yet")]
    title = "Checkpoints, newest first"
    return [_pairs(general), to_terminal(Table(title=title, columns=("checkpoint", "size", "state"), rows=rows))]


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return one line for each section of a run's configuration, without what is left open."""
    lines = {}
    for section, values in config.items():
        if isinstance(values, Mapping):
            shown = {key: value for key, value in values.items() if value is not None and key != "name"}
            lines[section] = ", ".join(f"{key} {_value(value)}" for key, value in shown.items())
    return {f"{section} settings": line for section, line in lines.items() if line}


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return f"({', '.join(f'{key} {_value(inner)}' for key, inner in value.items())})"
    if isinstance(value, list):
        return str(tuple(value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _show_data(data: Mapping[str, Any]) -> list[RenderableType]:
    found = data["folders"].values()
    facts: dict[str, list[str | None]] = {
        "images": [_number(each["images"]) for each in found],
        "files": [None if each["files"] == each["images"] else _number(each["files"]) for each in found],
        "unreadable": [_number(len(each["unreadable"])) for each in found],
        **{name: [_counts(each[name]) for each in found] for name in ("formats", "channels")},
        "types": [_counts(each["dtypes"]) for each in found],
        **{name: [_range(each[name]) for each in found] for name in ("values", "height", "width")},
        "unit": [_counts(each["units"]) for each in found],
        "spacing in mm": [_spacing(each["spacing"]) for each in found],
        "patients": [_number(each["groups"]) if each["groups"] else None for each in found],
        "most common size": [_size(each["most_common_size"]) for each in found],
    }
    facts["without a value"] = [small_percent(each["missing"]) if each["missing"] else None for each in found]
    rows = tuple((name, *(value or "" for value in values)) for name, values in facts.items() if any(values))
    table = to_terminal(Table(title="", columns=("", *data["folders"]), rows=rows))
    bad = [file for each in found for file in each["unreadable"]]
    lines = [Text(f"unreadable: {printable(file['path'])}: {file['reason']}", overflow="fold") for file in bad]
    pairs = [Text(f"pairs: {data['pairs']:,} (all names of A and B agree)")] if data["pairs"] else []
    pairs += [Text(f"pairs: none by name; {data['unmatched']}", overflow="fold")] if data["unmatched"] else []
    from unpaired.data.folders import in_words

    for name, each in data["folders"].items():
        notices = [*in_words(each["left_out"]), *each["remarks"]]
        lines += [Text(f"{name}: {text}", overflow="fold") for text in notices]
    lines += [Text(f"warning: {data['shared_groups']}", overflow="fold")] if data["shared_groups"] else []
    return [Text(f"layout: {data['layout'] or 'one folder of images'}"), *pairs, table, *lines]


def _show_image(image: Mapping[str, Any]) -> list[RenderableType]:
    general = {
        "size": f"{image['height']} x {image['width']} (height x width)",
        "channels": str(image["channels"]),
        "type": image["dtype"],
        "images": _number(image["images"]) if image["images"] > 1 else None,
        "values": None if image["lowest"] is None else _values(image),
        "spacing": f"{_spacing(image['spacing'])} {image['spacing_unit']}".strip() if image["spacing"] else None,
        "file": _bytes(image["bytes"]),
    }
    return [_pairs(general)]


def _values(image: Mapping[str, Any]) -> str:
    return f"{image['lowest']:g} to {image['highest']:g} {image['unit']}".strip()


def _pairs(rows: Mapping[str, str | None]) -> Grid:
    """Return a table of names and values, without the rows that have nothing to say."""
    table = Grid.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(printable(name), Text(printable(value)))  # Text: what a file says is never read as markup
    return table


def _number(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _size(size: list[int] | None) -> str | None:
    return None if size is None else f"{size[0]} x {size[1]}"


def _spacing(spacing: list[float] | None) -> str | None:
    return None if spacing is None else " x ".join(f"{one:.4g}" for one in spacing)


def _bytes(count: int) -> str:
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(name if len(counts) == 1 else f"{name} ({count:,})" for name, count in counts.items())


def _range(bounds: list[float] | None) -> str | None:
    if bounds is None:
        return None
    return f"{bounds[0]:g}" if bounds[0] == bounds[1] else f"{bounds[0]:g} to {bounds[1]:g}"
