"""`unpaired export --format web`: a folder that any file server serves, and a browser translates by itself.

The networks are ONNX files, ONNX Runtime Web (npm) computes, and the page is that of the playground.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import atomic_folder, check_out, open_regular, real_path, require_new, sync
from unpaired.core.settings import option
from unpaired.core.text import printable
from unpaired.data.directions import DIRECTIONS, heading, parse_direction
from unpaired.data.values import DTYPE_RANGES, Domain, domain_to_json
from unpaired.models.exactness import Exactness
from unpaired.models.export.model import ExportPrecision, export_model
from unpaired.models.folder import ModelCard, checkpoint_title, find_model
from unpaired.models.loading import card_with_scale
from unpaired.models.sizing import choose_sizing
from unpaired.serve import page

RUNTIME = {"ort.wasm.bundle.min.mjs": "ort.js", "ort-wasm-simd-threaded.wasm": "ort.wasm"}
"""Files of onnxruntime-web's folder `dist`, and their names in the folder: file servers may not know `.mjs`."""
_MOST_BYTES = 1 << 28
_PAGE, _DESCRIPTION = "index.html", "model.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserReport:
    """What was written."""

    folder: Path
    source: str
    """Which checkpoint or model was written."""
    directions: dict[str, Exactness]
    precision: ExportPrecision
    model_bytes: int
    runtime_bytes: int
    """0 where the runtime has still to be put there."""

    def __str__(self) -> str:
        directions = ", ".join(f"{name} ({exactness})" for name, exactness in self.directions.items())
        size = f"models {self.model_bytes / 1e6:.1f} MB"
        size += f", runtime {self.runtime_bytes / 1e6:.1f} MB" if self.runtime_bytes else ""
        serve = f"Serve it: python -m http.server --bind 127.0.0.1 --directory {printable(self.folder)}"
        lacks = (
            ""
            if self.runtime_bytes
            else (
                "\nONNX Runtime Web is not in it yet: npm install onnxruntime-web, and export again with "
                f"{option('runtime', 'node_modules/onnxruntime-web/dist')}."
            )
        )
        return f"{self.folder}: {self.source}, {self.precision}, {directions}; {size}.{lacks}\n{serve}"


def export_browser(
    model: str | Path,
    out: str | Path,
    *,
    runtime: str | Path | None = None,
    direction: str | None = None,
    checkpoint: str | int | None = None,
    steps: int | None = None,
    seed: int | None = None,
    precision: ExportPrecision = "fp32",
    calibrate: str | Path | None = None,
    overwrite: bool = False,
) -> BrowserReport:
    """Write a model, or one direction of it, as a folder of a static page that translates in the browser.

    `runtime` is the folder `dist` of the npm package onnxruntime-web. The networks are written and checked as
    `export_model` does. Nothing is written unless all is well. Raises `UserError`.
    """
    out = _checked_out(Path(out), overwrite, reads=[calibrate])
    files = None if runtime is None else _runtime_files(Path(runtime))
    folder, _ = find_model(model, checkpoint)
    card = card_with_scale(folder)
    chosen = _directions(model, card, direction)
    if precision == "int8" and len(chosen) > 1:
        raise UserError(
            f"{option('precision', 'int8')} is calibrated with images of one domain: name the {option('direction')}."
        )
    options: dict[str, Any] = {"steps": steps, "seed": seed, "precision": precision, "calibrate": calibrate}
    with atomic_folder(out) as draft:
        place = draft / page.FOLDER
        (place / "runtime").mkdir(parents=True)
        directions: list[dict[str, Any]] = []
        exactness: dict[str, Exactness] = {}
        for name in chosen:
            file = place / f"{name}.onnx"
            exactness[name] = export_model(folder, file, format="onnx", direction=name, **options).exactness
            directions.append(describe_direction(card, name))
        title = checkpoint_title(folder, card)
        about = {"name": real_path(model).name, "title": title, "checkpoints": [], "directions": directions}
        described = {"format": "unpaired-browser", "unpaired_version": __version__, "models": [about]}
        (place / _DESCRIPTION).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (draft / _PAGE).write_text(page.html("browser"), encoding="utf-8")
        for name, text in page.assets("browser").items():
            (place / name).write_text(text, encoding="utf-8")
        for source, name in (files or {}).items():
            with open_regular(source, at_most=_MOST_BYTES) as content, (place / "runtime" / name).open("wb") as copy:
                shutil.copyfileobj(content, copy)
        for path in draft.rglob("*"):
            sync(path)
    networks = sum((out / page.FOLDER / f"{name}.onnx").stat().st_size for name in chosen)
    return BrowserReport(
        folder=out,
        source=title,
        directions=exactness,
        precision=precision,
        model_bytes=networks,
        runtime_bytes=sum(path.stat().st_size for path in (out / page.FOLDER / "runtime").iterdir()),
    )


def _directions(model: str | Path, card: ModelCard, direction: str | None) -> list[str]:
    there: list[str] = [name for name in DIRECTIONS if name in card.translators]
    chosen: list[str] = there if direction is None else [parse_direction(direction, card.domains)]
    for name in chosen:
        if name not in there:
            raise UserError(f'{printable(model)} has no direction "{direction}"; it has {" and ".join(there)}.')
        _require_pictures(card, name)
    return chosen


def describe_direction(card: ModelCard, direction: str) -> dict[str, Any]:
    """Return what the page has to know of a direction: channels, values, size, and the file of its network."""
    searches = card.translators[direction].is_search
    sizing = choose_sizing(card, direction, size=None, detail=None, searches=searches)
    source, target = (
        {**domain_to_json(domain), "name": domain.title(side), "range": _shown_range(domain)}
        for side, domain in zip(direction.split("2"), card.domains_of(direction), strict=True)
    )
    # A picture of a browser has 8 bits; where no range is declared they are -1 to 1.
    return {
        "direction": direction,
        "heading": heading(direction, card.domains),
        "source": source,
        "target": target,
        "file": f"{page.FOLDER}/{direction}.onnx",
        "sizing": seen_size(card),
        "detail": sizing.detail,
    }


def _shown_range(domain: Domain) -> tuple[float, float]:
    """Return the bytes that are -1 and 1: a range beyond 8 bits is shown in all of them."""
    low, high = domain.range or DTYPE_RANGES["uint8"]
    return (low, high) if domain.dtype == "uint8" else DTYPE_RANGES["uint8"]


def seen_size(card: ModelCard) -> dict[str, int] | None:
    """Return how a picture's size becomes that which the network sees, as `Scale.size` does; None: its own."""
    scale = card.scale
    if scale is None or scale.is_native:
        return None
    height, width = scale.load_size
    if scale.preprocess == "resize_and_crop":
        return {"height": height, "width": width}
    if scale.preprocess == "scale_width_and_crop":
        return {"width": width, "least": scale.crop_size[0], "multiple": 1}
    return {"width": width, "least": 1, "multiple": 4}


def _require_pictures(card: ModelCard, direction: str) -> None:
    for domain in card.domains_of(direction):
        if domain.labels is not None or domain.channels not in (1, 3):
            kind = "label maps" if domain.labels is not None else f"images of {domain.channels} channels"
            raise UserError(
                f"{direction} of this model translates {kind}; {option('format', 'web')} is for pictures, grey or RGB. "
                f"Use {option('format', 'onnx')} and a program of your own."
            )


def _checked_out(out: Path, overwrite: bool, reads: list[str | Path | None]) -> Path:
    """Return the folder to write, which is new or, with `overwrite`, one that this export has written."""
    out = check_out(out, reads=reads, replaces=[_PAGE])
    if not overwrite:
        require_new(out, f"Choose {option('overwrite')} to replace an export, or another {option('out')}.")
    elif out.exists() and (others := sorted({path.name for path in out.iterdir()} - {_PAGE, page.FOLDER})):
        raise UserError(
            f"{option('out', printable(out))} holds other files too, such as {printable(others[0])}: it is not "
            f"replaced. Choose another {option('out')}."
        )
    return out


def _runtime_files(folder: Path) -> dict[Path, str]:
    """Return the runtime's files and what they are called in the export; `UserError` where they are not there."""
    for place in (folder, folder / "dist"):
        if all((place / name).is_file() for name in RUNTIME):
            return {place / name: called for name, called in RUNTIME.items()}
    raise UserError(
        f"{option('runtime', printable(folder))} does not hold {' and '.join(RUNTIME)}. Get them with npm install "
        "onnxruntime-web, and give its folder node_modules/onnxruntime-web/dist."
    )
