"""`unpaired evaluate` from images to table and files: models, runs, folders, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comparisons import write_labelled
from evaluations import pictures, write_data, write_pictures, write_small_model, write_small_run
from unpaired import cli
from unpaired.core.download import DownloadError
from unpaired.data.decode import decode
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.evaluation.metrics import METRICS
from unpaired.metrics.paired import l1, psnr, ssim
from unpaired.metrics.sliced import Patches, sliced_wasserstein
from unpaired.models.folder import read_card
from unpaired.models.translator import Translator


def evaluate(capsys: pytest.CaptureFixture[str], *tokens: str | Path, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", *map(str, tokens), "--device", "cpu"])
    shown = capsys.readouterr()
    assert stopped.value.code == code, shown.err
    return shown.out, shown.err


def figures(path: Path, direction: str) -> dict[str, dict[str, Any]]:
    document = json.loads((path / "evaluation.json").read_text())
    return {one["name"]: one for one in document["directions"][direction]["figures"]}


def signed(images: list[Any]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1 for image in images])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_small_model(tmp_path / "model")


def read_all(folder: Path) -> list[Any]:
    return [decode(path) for path in sorted(folder.iterdir())]


def test_a_model_folder_is_measured_as_its_files_would_be(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shown, _ = evaluate(capsys, model, "--data", data, "--out", out)
    assert "Sliced Wasserstein distance" in shown
    assert "untranslated" in shown
    translator = Translator.load(model, "a2b", device="cpu", engine="torch")
    back = Translator.load(model, "b2a", device="cpu", engine="torch")
    inputs = read_all(data / "testA")
    x = signed(inputs)
    y = translator.translate_tensor(x)
    real, fake = Patches(limit=2**15), Patches(limit=2**15)
    real.add(signed(read_all(data / "testB")))
    fake.add(signed([translator(image) for image in inputs]))
    found = figures(out, "a2b")
    assert found["swd"]["value"] == pytest.approx(sliced_wasserstein(real, fake).mean, rel=1e-5)
    returned = ((back.translate_tensor(y).clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    assert found["reconstruction_l1"]["value"] == pytest.approx(float(l1(returned, x).mean()), rel=1e-4)
    assert found["reconstruction_psnr"]["value"] == pytest.approx(float(psnr(returned, x).mean()), rel=1e-4)
    assert found["reconstruction_ssim"]["value"] == pytest.approx(float(ssim(returned, x).mean()), rel=1e-3)
    assert "l1" not in found  # 0.png of both domains need not belong together
    assert found["swd"]["protocol"]["reference"] == "test images of B"
    assert found["swd"]["protocol"]["reference_images"] == 7
    assert found["swd"]["protocol"]["translations"] == 6
    assert found["swd"]["protocol"]["reference_files"] == "PNG"


def test_the_json_describes_model_data_and_pictures(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shown, _ = evaluate(capsys, model, "--data", data, "--out", out, "--json")
    document = json.loads(shown)
    assert document == json.loads((out / "evaluation.json").read_text())
    assert (document["format"], document["version"]) == ("unpaired-evaluation", 1)
    assert set(document["versions"]) == {"unpaired", "torch", "python"}
    assert document["data"]["split"] == "test"
    assert document["data"]["images"] == {"a": 6, "b": 7}
    assert set(document["model"]["fingerprints"]) == {"a2b", "b2a"} == set(document["directions"])
    for found in document["directions"].values():
        for one in found["figures"]:
            assert {"name", "title", "value", "error", "unit", "better", "group", "protocol", "note"} <= set(one)
            assert {"reference_split", "size", "resize_filter", "reference_files", "unpaired", "seed"} <= set(
                one["protocol"]
            )
        assert {"untranslated", "real_halves"} == set(found["bounds"])
        assert len(found["pictures"]) == 3
        for picture in found["pictures"]:
            assert (out / picture["file"]).read_bytes().startswith(b"\x89PNG")
            assert picture["alt"]


def test_a_run_is_measured_on_its_own_data_at_its_own_size(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    run = write_small_run(tmp_path / "run", {"root": str(data), "crop_size": 16})
    place = run / "evaluations" / "000000012"
    evaluate(capsys, run, "--direction", "a2b")
    first = figures(place, "a2b")
    assert first["swd"]["protocol"]["size"] == "16 x 16"
    (place / "old.png").write_bytes(b"")
    evaluate(capsys, run / "checkpoints" / "000000012", "--direction", "b2a", "--images", "3")
    document = json.loads((place / "evaluation.json").read_text())
    assert list(document["directions"]) == ["b2a"]
    assert figures(place, "b2a")["swd"]["protocol"]["translations"] == 3
    assert not (place / "worst_reconstruction_a2b.png").exists()
    assert (place / "old.png").exists()  # what an evaluation did not write stays


def test_pairs_and_labels_of_a_labelled_data_set(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = write_labelled(tmp_path / "labelled", test=4)
    labels = Labels(kind="index", palette=((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)), void=(3,))
    domains = {"a": Domain(channels=3, labels=labels), "b": Domain(channels=3)}
    model = write_small_model(tmp_path / "model", domains)
    shown, _ = evaluate(capsys, model, "--data", root, "--out", tmp_path / "out")
    to_labels, to_photos = figures(tmp_path / "out", "b2a"), figures(tmp_path / "out", "a2b")
    assert {"l1", "psnr", "ssim", "pixel_accuracy", "class_accuracy", "class_iou"} <= set(to_labels)
    assert "ms_ssim" not in to_labels  # the images are too small for it
    assert "pixel_accuracy" not in to_photos
    assert 0 <= to_labels["pixel_accuracy"]["value"] <= 1
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(document["directions"]["b2a"]["bounds"]) == {"untranslated", "real_halves", "shuffled_labels"}
    assert document["directions"]["b2a"]["tables"][0]["columns"][0] == "class"
    assert "class by class" in shown


def test_folders_made_by_anyone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    images = pictures(5)
    real = write_pictures(tmp_path / "real", images)
    fake = write_pictures(tmp_path / "fake", [255 - image for image in images])
    evaluate(capsys, "--real", real, "--fake", fake, "--input", real, "--paired", "--out", tmp_path / "out")
    found = figures(tmp_path / "out", "folders")
    x, y = signed(images), signed([255 - image for image in images])
    assert found["l1"]["value"] == pytest.approx(float(l1(x, y).mean()), rel=1e-5)
    assert found["ssim"]["value"] == pytest.approx(float(ssim(x, y).mean()), rel=1e-4)
    assert {"swd", "structure_edges", "psnr"} <= set(found)
    assert "reconstruction_l1" not in found
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["model"] is None


def test_the_authors_folder_of_results(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mixed = tmp_path / "images"
    write_pictures(mixed, pictures(4), "n{}_real_A.png")
    write_pictures(mixed, pictures(4, seed=1), "n{}_fake_B.png")
    real = write_pictures(tmp_path / "zebras", pictures(6, seed=2), "z{}.jpg")
    _, error = evaluate(capsys, "--real", real, "--fake", mixed, "--out", tmp_path / "out", code=2)
    assert "4 files *_real_A" in error
    assert f"--fake '{mixed}/*_fake_B.png'" in error
    shown, _ = evaluate(
        capsys,
        *("--real", real, "--fake", f"{mixed}/*_fake_B.png", "--input", f"{mixed}/*_real_A.png"),
        *("--out", tmp_path / "out"),
    )
    assert "JPEG" in shown
    found = figures(tmp_path / "out", "folders")
    assert found["structure_edges"]["protocol"]["translations"] == 4
    assert found["swd"]["protocol"]["reference_images"] == 6


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([], "nothing to evaluate"),
        (["--real", "{data}/testA"], "nothing to evaluate"),
        (["{model}", "--real", "{data}/testA"], "--real belongs to a comparison of folders"),
        (["--real", "{data}/testA", "--fake", "{data}/testB", "--data", "{data}"], "--data belongs to a model"),
        (
            ["--real", "{data}/testA", "--fake", "{data}/testB", "--engine", "openvino", "--precision", "bf16"],
            "--engine, --precision belongs to a model",
        ),
        (["--real", "{data}/testA", "--fake", "{data}/testB"], "--out is missing"),
        (["{model}", "--data", "{data}"], "--out is missing"),
        (["{model}", "--out", "{out}"], "--data is missing"),
        (["{model}", "--data", "{data}/nowhere", "--out", "{out}"], "no such folder"),
        (
            ["{model}", "--data", "{data}", "--out", "{out}", "--measures", "swd,fod"],
            'no metric "fod". Did you mean "fid"',
        ),
        (
            ["{model}", "--data", "{data}", "--out", "{out}", "--measures", "frechet"],
            "pip install 'unpaired[features]'",
        ),
        (["{model}", "--data", "{data}", "--out", "{out}", "--measures", "fcn"], "--fcn SEGMENTER is missing"),
        (["{model}", "--data", "{data}", "--out", "{out}", "--measures", "paired"], "paired cannot be measured here"),
        (["{model}", "--data", "{data}", "--out", "{out}", "--images", "0"], "--images: received 0"),
        (["{model}", "--data", "{data}", "--out", "{out}", "--size", "4"], "nothing"),
        (["{model}", "--data", "{data}", "--out", "{out}", "--inception", "{out}/w.pth"], "w.pth"),
        (["{model}", "--data", "{data}", "--out", "{out}", "--features", "{out}/w.pt2"], "w.pt2"),
        (["{model}", "--data", "{data}", "--out", "{out}", "--fcn", "{out}"], "no segmenter"),
        (["{model}", "--data", "{data}", "--out", "{out}", "--lpips", "alex:{out}/a.pth"], "a.pth"),
        (
            ["--real", "{data}/testA", "--fake", "{data}/testB", "--out", "{out}", "--measures", "paired"],
            "--paired says that names tell",
        ),
        (
            ["--real", "{data}/testA", "--fake", "{data}/testA", "--out", "{out}", "--measures", "swd", "--paired"],
            "--paired is given, and --metrics names nothing that uses it",
        ),
        (["--real", "{data}/testA", "--fake", "{data}/testB", "--paired", "--out", "{out}"], "1 file has no partner"),
    ],
)
def test_what_is_refused(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path, tmp_path: Path, tokens: list[str], said: str
) -> None:
    out = tmp_path / "out"
    if said == "nothing":
        tokens = [*tokens, "--measures", "swd"]
        said = "swd cannot be measured here"
    _, error = evaluate(capsys, *(token.format(data=data, model=model, out=out) for token in tokens), code=2)
    assert said in error
    assert not out.exists()


def test_a_missing_weight_is_told_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import unpaired.metrics.features.weights as weights

    def offline(_: object, path: Path) -> None:
        raise DownloadError(path.name, ["no network here"])

    monkeypatch.setattr(weights, "download", offline)
    monkeypatch.setattr(weights, "_cached", lambda known: iter([tmp_path / known.name]))
    _, error = evaluate(
        capsys, model, "--data", tmp_path / "nowhere", "--out", tmp_path / "out", "--measures", "fid", code=2
    )
    assert "pt_inception-2015-12-05-6726825d.pth" in error


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    nothing = tmp_path / "nothing"
    _, said = evaluate(capsys, "--real", nothing, "--fake", nothing, "--out", tmp_path / "file" / "figures", code=2)
    assert "cannot write into" in said
    assert "Choose another folder" in said


def test_no_cache_is_needed_where_nothing_is_downloaded(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path / "file" / "cache"))
    folders = ("--real", data / "testA", "--fake", data / "testB", "--out", tmp_path / "out")
    shown, _ = evaluate(capsys, *folders)
    assert "Sliced Wasserstein distance" in shown
    assert "cannot use the cache folder" in evaluate(capsys, *folders, "--measures", "fid", code=2)[1]


def test_unreadable_images_are_listed_or_left_out(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    root = write_data(tmp_path / "data")
    (root / "testA" / "bad.png").write_bytes(b"no image")
    tokens = (model, "--data", root, "--out", tmp_path / "out")
    _, error = evaluate(capsys, *tokens, code=2)
    assert "bad.png" in error
    assert "--on-bad-image skip" in error
    _, error = evaluate(capsys, *tokens, "--on-bad-image", "skip")
    assert "bad.png" in error
    assert figures(tmp_path / "out", "a2b")["swd"]["protocol"]["translations"] == 6


def test_an_interruption_leaves_nothing_half_done(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(METRICS["swd"], "distance", stop)
    evaluate(capsys, model, "--data", data, "--out", tmp_path / "out", code=130)
    assert not (tmp_path / "out").exists()


def test_test_images_alone_are_enough(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    for seed, part in enumerate(("testA", "testB")):
        write_pictures(tmp_path / "data" / part, pictures(4, seed=seed))
    evaluate(capsys, model, "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert figures(tmp_path / "out", "a2b")["swd"]["protocol"]["reference_split"] == "test"


def test_the_table_fits_80_columns(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown, _ = evaluate(capsys, model, "--data", data, "--out", tmp_path / "out", "--quiet")
    assert max(map(len, shown.splitlines())) <= 80
    assert "Protocol" in shown
    assert "better" in shown
    assert read_card(model).origin == "made by a test"
