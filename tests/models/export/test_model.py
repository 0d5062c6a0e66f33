"""Exported files: what they compute, what they say of themselves, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unpaired import Translator, cli
from unpaired.core.errors import UserError
from unpaired.core.files import locked
from unpaired.models.convert.files import to_file
from unpaired.models.exactness import Exactness, compare, reference
from unpaired.models.export import model as export_room
from unpaired.models.export.formats import SUFFIXES, load_format
from unpaired.models.export.model import ExportReport, export_model
from unpaired.models.loading import load_generator

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
EXAMPLE_OF = {
    "onnx": "run_onnx.py",
    "openvino": "run_openvino.py",
    "torchscript": "run_torchscript.py",
    "torch-export": "run_torch_export.py",
}


@pytest.fixture(scope="module", params=list(SUFFIXES))
def exported(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export_model(model, tmp_path_factory.mktemp("exported") / f"m{SUFFIXES[request.param]}")


def name_of(report: ExportReport) -> Any:
    return next(name for name, suffix in SUFFIXES.items() if suffix == report.files[-1].suffix)


def test_a_file_takes_any_size_and_batch(exported: ExportReport, model: Path) -> None:
    network = load_generator(model).network
    run = load_format(name_of(exported)).open(exported.files[-1])
    for shape in ((1, 3, 2, 3), (1, 3, 8, 8), (3, 3, 9, 30), (2, 3, 61, 17), (1, 3, 128, 96)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
        torch.testing.assert_close(run(image), reference(network)(image), rtol=0, atol=1e-3)
    assert run(torch.zeros(1, 3, 1, 1)).shape == (1, 3, 1, 1)
    assert exported.exactness.largest < 1e-3


def test_a_file_describes_itself(exported: ExportReport) -> None:
    metadata = load_format(name_of(exported)).metadata(exported.files[-1])
    assert metadata["direction"] == "a2b"
    assert metadata["origin"] == "made by a test: größer"
    assert json.loads(metadata["source"])["channels"] == 3
    assert json.loads(metadata["target"]) == {"channels": 3, "dtype": "uint16", "range": [0.0, 4095.0]}
    assert json.loads(metadata["training_size"]) == [64, 64]
    assert (metadata["size_multiple"], metadata["minimum_size"], metadata["precision"]) == ("4", "8", "fp32")
    assert Exactness.from_json(json.loads(metadata["exactness"])) == exported.exactness


def test_a_file_holds_no_path_of_this_machine(exported: ExportReport) -> None:
    source = str(EXAMPLES.parent).encode()
    assert not any(source in path.read_bytes() for path in exported.files)


def test_nothing_else_is_left(exported: ExportReport) -> None:
    assert set(exported.files[-1].parent.iterdir()) == set(exported.files)


@pytest.mark.slow
def test_the_example_translates_as_the_translator_does(
    exported: ExportReport, model: Path, photos: Path, tmp_path: Path
) -> None:
    picture, out = photos / "03.png", tmp_path / "out.png"
    script = EXAMPLES / EXAMPLE_OF[name_of(exported)]
    subprocess.run([sys.executable, script, exported.files[-1], picture, out], check=True, timeout=100)
    assert "unpaired" not in script.read_text().split('"""')[2]
    with Image.open(picture) as image, Image.open(out) as translated:
        signed = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        expected = Translator.load(model, device="cpu")(torch.from_numpy(signed))
        pixels = ((expected[0].permute(1, 2, 0).numpy() + 1) * 127.5).round()
        assert np.abs(np.asarray(translated, float) - pixels).max() <= 1


def test_the_example_in_the_docs_is_the_one_that_is_tested() -> None:
    page = (EXAMPLES.parent / "docs" / "export.md").read_text(encoding="utf-8")
    assert (EXAMPLES / "run_onnx.py").read_text().split('"""')[2].strip() in page


# ---------------------------------------------------------------------------------------------------- what is refused


def fails(message: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(UserError, match=message):
        export_model(*arguments, **options)


def test_requests_that_cannot_be_met(model: Path, tmp_path: Path, photos: Path) -> None:
    fails('no format has the suffix ".tflite"', model, tmp_path / "m.tflite")
    fails('no format "onxn".*Did you mean "onnx"', model, tmp_path / "m.onnx", format="onxn")
    fails(r'format = onnx writes \.onnx files; received the suffix "\.xml"', model, tmp_path / "m.xml", format="onnx")
    fails('no precision "int4"', model, tmp_path / "m.onnx", precision="int4")
    fails("precision = int8 needs calibrate = DIR", model, tmp_path / "m.onnx", precision="int8")
    fails("calibrate is of use for", model, tmp_path / "m.onnx", calibrate=photos)
    fails("for the formats onnx and openvino", model, tmp_path / "m.pt", precision="int8", calibrate=photos)
    fails("no folder at", model, tmp_path / "m.onnx", precision="int8", calibrate=tmp_path / "nowhere")
    fails("direction = c2d", model, tmp_path / "m.pt", direction="c2d")
    fails("no model at", tmp_path / "nothing", tmp_path / "m.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["m.xml", "m.bin"])
def test_an_existing_file_is_not_replaced_unasked(model: Path, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    fails("exists already. Choose overwrite", model, tmp_path / "m.xml")
    assert (tmp_path / there).read_text() == "mine"


def test_overwriting(model: Path, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_text("old")
    report = export_model(model, tmp_path / "m.pt", direction="b2a", overwrite=True)
    assert load_format("torchscript").metadata(report.files[-1])["direction"] == "b2a"


def test_what_is_not_installed_names_the_command(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unpaired.models.export.formats.find_spec", lambda name: None)
    fails(r"format = openvino needs openvino and .*pip install openvino", model, tmp_path / "m.xml")


def test_a_file_that_differs_is_not_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(network: Any) -> Any:
        with torch.no_grad():
            network.head.convolution.bias.add_(0.01)
        exported = original(network)
        with torch.no_grad():
            network.head.convolution.bias.sub_(0.01)
        return exported

    form = load_format("torchscript")
    original = form.convert
    monkeypatch.setattr(form, "convert", convert)
    monkeypatch.setattr(export_room, "load_format", lambda name: form)
    fails("does not do what PyTorch does.*differs from float32 by at most 0.0", model, tmp_path / "m.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fails("cannot write", model, tmp_path / "file" / "m.pt")


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small file system needs root on Linux"
)
def test_a_full_disk_is_one_message_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    """In a process of its own, since the writers of runtimes may end theirs."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not allow a small file system to be mounted")
    code = (
        "import sys, unpaired\nfrom unpaired.models.export.model import export_model\n"
        "from unpaired.models.convert.files import to_file\nfrom pathlib import Path\n"
        "for name in ('m.pt', 'm.pt2', 'm.onnx', 'm.xml', 'm.pth'):\n"
        "    out = Path(sys.argv[2], name)\n"
        "    try:\n"
        "        to_file(Path(sys.argv[1]), out) if name == 'm.pth' else export_model(sys.argv[1], out)\n"
        "    except unpaired.UserError as error:\n"
        "        print(error)\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(model), str(place)], capture_output=True, text=True, timeout=300
        )
        assert [path.name for path in place.iterdir()] == []
    finally:
        subprocess.run(["umount", str(place)], check=True)
    told = done.stdout.splitlines()
    assert [("full" in line or "No space" in line) for line in told] == [True] * 5, done.stdout + done.stderr


def test_what_a_killed_export_left_is_deleted_by_the_next(model: Path, tmp_path: Path) -> None:
    left, used = tmp_path / ".unpaired-export-dead", tmp_path / ".unpaired-export-alive"
    left.mkdir()
    (left / "m.pt").write_text("half")
    with locked(used):
        export_model(model, tmp_path / "m.pt")
        assert {path.name for path in tmp_path.iterdir()} == {"m.pt", used.name}


def test_names_that_are_too_long(model: Path, tmp_path: Path) -> None:
    fails("cannot write", model, tmp_path / f"{'a' * 300}.pt")
    with pytest.raises(UserError, match="aaa"):
        to_file(model, tmp_path / f"{'a' * 300}.pth")


# --------------------------------------------------------------------------------------------------------------- int8


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_int8_states_what_it_loses(model: Path, photos: Path, tmp_path: Path, suffix: str) -> None:
    report = export_model(model, tmp_path / f"m{suffix}", precision="int8", calibrate=photos)
    assert report.measured_on == 3, "every fourth of twelve"
    assert 1e-3 < report.exactness.typical < 0.1, "int8 differs, and not beyond recognition"
    form = load_format(name_of(report))
    assert form.metadata(report.files[-1])["precision"] == "int8"
    network = load_generator(model).network
    with Image.open(photos / "03.png") as image:
        picture = torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1)[None].copy() / 127.5 - 1)
    found = compare(form.open(report.files[-1]), reference(network), [picture])
    assert found.largest <= report.exactness.largest * 1.001
    assert form.open(report.files[-1])(torch.zeros(1, 3, 5, 70)).shape == (1, 3, 5, 70)


# --------------------------------------------------------------------------------------------------- the command line


def test_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", str(model), "--out", str(tmp_path / "m.pt"), "--format", "torchscript"])
    assert not stopped.value.code
    shown = capsys.readouterr().out
    assert "TorchScript, fp32" in shown
    assert "takes images of any size; equals float32" in shown
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", str(model), "--out", str(tmp_path / "m.pt")])
    assert stopped.value.code == 2
    assert "exists already" in capsys.readouterr().err
