"""A model exported to a browser: what the folder holds, what is refused, and that a browser translates as we do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.conftest import MakeModel
from serve.pages import IDLE, downloaded, give, png_bytes, smooth
from study.browser import Browse
from unpaired.core.errors import UserError
from unpaired.data.labels import Labels
from unpaired.data.scale import Scale
from unpaired.data.values import Domain
from unpaired.models.exactness import Exactness
from unpaired.models.export.model import ExportReport
from unpaired.models.folder import card_to_json, read_card, read_tensors, write_model
from unpaired.models.translator import Translator
from unpaired.serve import browser
from unpaired.serve.browser import RUNTIME, export_browser, seen_size

INSTALLED = Path(__file__).resolve().parents[2] / "examples" / "browser" / "node_modules" / "onnxruntime-web" / "dist"
SQUARE = Scale(preprocess="resize_and_crop", load_size=(32, 32), crop_size=(32, 32))
CROPPED = Scale(preprocess="scale_width_and_crop", load_size=(38, 38), crop_size=(32, 32))
WIDE = Scale(preprocess="scale_width", load_size=(38, 38), crop_size=(32, 32))


def with_scale(model: Path, scale: Scale) -> Path:
    card = replace(read_card(model), scale=scale)
    weights = {each.weights: read_tensors(model, each.weights, at_most=1 << 24) for each in card.translators.values()}
    assert card_to_json(card)["scale"]
    write_model(model, card, weights)
    return model


@pytest.fixture
def networks_of_one_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no networks, which takes seconds."""

    def write(model: Path, out: Path, **settings: Any) -> ExportReport:
        out.write_bytes(b"x")
        exactness = Exactness(largest=0.0, typical=0.0, psnr=99.0)
        return ExportReport(
            files=[out], format="ONNX", source="m", precision="fp32", exactness=exactness, measured_on=1
        )

    monkeypatch.setattr(browser, "export_model", write)


@pytest.mark.usefixtures("networks_of_one_byte")
def test_a_folder_holds_the_page_both_networks_and_the_runtime(tmp_path: Path, make_model: MakeModel) -> None:
    dist = tmp_path / "dist"
    dist.mkdir()
    for name in RUNTIME:
        (dist / name).write_text(f"// {name}")
    out = tmp_path / "page"
    report = export_browser(with_scale(make_model(), WIDE), out, runtime=dist)
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"index.html", "page/a2b.onnx", "page/b2a.onnx", "page/model.json", "page/runtime/ort.wasm"} <= files
    assert report.runtime_bytes == sum(len(f"// {name}") for name in RUNTIME)
    assert "http.server" in str(report)
    (described,) = json.loads((out / "page" / "model.json").read_text())["models"]
    assert [each["direction"] for each in described["directions"]] == ["a2b", "b2a"]
    assert described["directions"][0]["sizing"] == {"width": 38, "least": 1, "multiple": 4}
    assert described["directions"][0]["detail"] is True
    assert "unsafe-inline" not in (out / "index.html").read_text()


@pytest.mark.usefixtures("networks_of_one_byte")
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(tmp_path: Path, make_model: MakeModel) -> None:
    labels = Labels(kind="colour", palette=((0, 0, 0), (255, 255, 255)))
    mapped = make_model("maps", b=Domain(channels=labels.channels, labels=labels))
    out = tmp_path / "page"
    with pytest.raises(UserError, match="label maps"):
        export_browser(mapped, out)
    with pytest.raises(UserError, match="npm install"):
        export_browser(make_model(), out, runtime=tmp_path / "nowhere")
    with pytest.raises(UserError, match="no direction"):
        export_browser(make_model("one", directions=("a2b",)), out, direction="b2a")
    with pytest.raises(UserError, match="direction"):
        export_browser(make_model(), out, precision="int8", calibrate=tmp_path / "photos")
    assert not out.exists()


@pytest.mark.usefixtures("networks_of_one_byte")
def test_only_an_export_is_replaced_and_only_when_told(tmp_path: Path, make_model: MakeModel) -> None:
    model, out = make_model(directions=("a2b",)), tmp_path / "page"
    export_browser(model, out)
    with pytest.raises(UserError, match="overwrite"):
        export_browser(model, out)
    export_browser(model, out, overwrite=True)
    (out / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match=r"mine\.txt"):
        export_browser(model, out, overwrite=True)
    assert (out / "mine.txt").read_text() == "keep"


@pytest.mark.slow
def test_a_browser_translates_as_the_translator_does(
    tmp_path: Path, make_model: MakeModel, browse: Browse, file_server: Callable[[Path], str]
) -> None:
    if not INSTALLED.is_dir():
        pytest.skip("needs onnxruntime-web: npm ci --prefix examples/browser")
    grey = Domain(channels=1)
    models = {
        "square": with_scale(make_model("square", directions=("a2b",)), SQUARE),
        "wide": with_scale(make_model("wide", a=grey, directions=("a2b",)), WIDE),
    }
    for name, model in models.items():
        export_browser(model, tmp_path / "pages" / name, runtime=INSTALLED)
    address, window = file_server(tmp_path / "pages"), browse()
    pixels = smooth(45, 61)
    for name, model in models.items():
        window.open(f"{address}{name}/")
        window.until("document.documentElement.dataset.ready")
        give(window, png_bytes(pixels))
        window.until(IDLE)
        found = downloaded(window).astype(int)
        wanted = np.asarray(
            Translator.load(model, device="cpu", engine="torch")(Image.fromarray(pixels)).convert("RGB")
        )
        assert np.abs(found - wanted).max() <= 1, name
        assert np.abs(found - wanted).mean() < 0.01, name
        assert np.abs(pixels.astype(int) - wanted).max() > 5, "it is a translation"
    for scale in (SQUARE, WIDE, CROPPED):
        sizes = [(45, 61), (61, 45), (7, 300), (300, 7), (38, 38), (30, 44)]
        seen = seen_size(replace(read_card(models["wide"]), scale=scale))
        wanted = [list(scale.size(*size)) for size in sizes]
        script = (
            "import(location.href + 'page/pixels.js')"
            f".then(p => {json.dumps(sizes)}.map(s => p.seenSize({json.dumps(seen)}, ...s)))"
        )
        assert window.run(script) == wanted
        #'./page/pixels.js').then(p => {json.dumps(sizes)}.map(s => p.seenSize({json.dumps(seen)}, ...s)))") == wanted
    assert all(url.startswith((address, "blob:", "data:")) for url in window.requests), "nobody else is asked"
    assert not window.problems


@pytest.mark.slow
@pytest.mark.usefixtures("networks_of_one_byte")
def test_without_the_runtime_the_page_says_how_to_get_it(
    tmp_path: Path, make_model: MakeModel, browse: Browse, file_server: Callable[[Path], str]
) -> None:
    export_browser(make_model(directions=("a2b",)), tmp_path / "page")
    window = browse()
    window.open(file_server(tmp_path / "page"))
    window.until("document.documentElement.dataset.ready")
    assert "npm install onnxruntime-web" in window.run("document.querySelector('#trouble').innerText")
    assert window.run("document.querySelector('#choose').disabled")
