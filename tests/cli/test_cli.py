"""The command line as a person meets it: help, mistakes, and one whole way from two folders to translated images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runs import TINY, arguments, unpaired, write_images
from unpaired import Translator, cli
from unpaired.cli.app import ORDER
from unpaired.cli.hints import authors_options
from unpaired.cli.settings import _of_method, _shared, page
from unpaired.methods import METHODS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data set"), {"trainA": 4, "trainB": 5, "testA": 2, "testB": 2})


def _run(*tokens: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(token) for token in tokens])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_help_does_not_wait_for_pytorch() -> None:
    script = (
        "import sys\nfrom unpaired.cli import main\nfor name in 'train', 'evaluate', 'audit', 'compare', 'translate':\n"
        "    try:\n        main([name, '--help'])\n    except SystemExit as stopped:\n        assert not stopped.code\n"
        "heavy = {'torch', 'numpy', 'PIL', 'tensorboard'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--on-bad-image" in done.stdout


@pytest.mark.parametrize("command", [name for name in ORDER if name not in ("segment", "study")])  # groups of commands
def test_every_command_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(command, "--help") == 0
    shown = capsys.readouterr().out
    assert command in shown
    rows = [line for line in shown.splitlines() if line.startswith(("│ --", "│ *"))]
    assert rows
    assert all(len(row.strip("│ ").split()) > 2 for row in rows), rows


MISTAKES = [
    (["tran"], ['no command "unpaired tran"', 'Did you mean "train"']),
    (["train", "cyclegan", "--dta", "x"], ["--dta", "Did you mean --data"]),
    (["train", "cyclegna", "--data", "{data}", "--out", "{out}"], ["cyclegna", 'Did you mean "cyclegan"']),
    (["train", "--data", "{data}", "--out", "{out}"], ["METHOD is missing", "cyclegan"]),
    (["train", "cyclegan", "--data", "{data}"], ["--out is missing"]),
    (["train", "cyclegan", "--out", "{out}"], ["--data"]),
    (["train", "cyclegan", "--data", "{data}/nowhere", "--out", "{out}"], ["nowhere"]),
    (["train", "cyclegan", "--data", "{data}/trainA", "--out", "{out}"], ["trainA", "trainB", "ROOT/"]),
    (["train", "cyclegan", "--a", "{data}/trainA", "--out", "{out}"], ["--b"]),
    (["train", "cyclegan", "--a", "{data}/trainA", "--b", "{data}/trainA", "--out", "{out}"], ["same folder"]),
    (["train", "cyclegan", "--data", "{data}", "--a", "{data}/trainA", "--out", "{out}"], ["--data", "--a"]),
    (["train", "cyclegan", "--a", "{data}/trainA", "--b", "{empty}", "--out", "{out}"], ["empty", "no image"]),
    (["train", "cyclegan", "--data", "{data}", "--out", "{out}", "--epochs", "many"], ["--epochs", "many"]),
    (
        ["train", "cyclegan", "--data", "{data}", "--out", "{out}", "--crop-size", "big"],
        ["--crop-size", "big", "256x512"],
    ),
    (["train", "cyclegan", "--data", "{data}", "--out", "{out}", "--crop-size", "254"], ["254", "multiples of 4"]),
    (["train", "cyclegan", "--data", "{data}", "--out", "{out}", "--crop-size", "16"], ["16", "24"]),
    (["train", "cyclegan", "--data", "{data}", "--out", "{out}", "--preprocess", "crop"], ["20 x 20", "256"]),
    (["train", "cyclegan", "--data", "{data}", "--out", "{out}", "--set", "method.cycle_wieght=3"], ["cycle_weight"]),
    (["train", "cyclegan", "--data", "{data}", "--out", "{out}", "--cache", "ram"], ["--cache", "ram", "memory"]),
    (["train", "cyclegan", "--data", "{data}", "--out", "{out}", "--device", "gpu"], ["gpu", "auto"]),
    (["train", "cyclegan", "--data", "{data}", "--out", "{data}"], ["not an empty folder"]),
    (["train", "--resume", "{data}"], ["not a run"]),
    (["train", "--resume", "{data}", "--out", "{out}"], ["leave out --out"]),
    (["translate", "{empty}", "{data}", "--out", "{out}"], ["not a model"]),
    (["translate", "{data}/nowhere", "{data}", "--out", "{out}"], ["no model", "nowhere"]),
    (["convert", "{data}/nowhere.pth", "--out", "{out}"], ["nowhere.pth"]),
    (["info", "{data}/nowhere"], ["nowhere"]),
]


@pytest.mark.parametrize(("tokens", "words"), MISTAKES, ids=lambda value: " ".join(value)[:60])
def test_a_mistake_is_one_clear_message_and_nothing_is_written(
    tokens: list[str], words: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(p for place in (data, tmp_path) for p in place.rglob("*"))
    places = {"data": data, "out": tmp_path / "out", "empty": tmp_path / "empty"}
    assert _run(*[token.format(**places) for token in tokens]) == 2
    shown = capsys.readouterr()
    error = shown.err[shown.err.index("error: ") :]
    for word in words:
        assert word in error
    assert shown.err.count("error: ") == 1
    assert "Traceback" not in shown.err
    assert sorted(p for place in (data, tmp_path) for p in place.rglob("*")) == before


def test_every_bad_file_is_listed_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_images(tmp_path / "data", {"trainA": 3, "trainB": 3})
    whole = (root / "trainA" / "0.png").read_bytes()
    (root / "trainA" / "empty.png").touch()
    (root / "trainA" / "cut short.png").write_bytes(whole[: len(whole) // 2])
    (root / "trainB" / "text.jpg").write_text("this is not an image")
    (root / "trainB" / "broken link.png").symlink_to(root / "nowhere.png")
    out = tmp_path / "out"
    command = ["train", "cyclegan", "--data", root, "--out", out, *arguments(TINY)]
    assert _run(*command) == 2
    error = capsys.readouterr().err
    for name in ("empty.png", "cut short.png", "text.jpg", "broken link.png"):
        assert name in error
    assert "--on-bad-image skip" in error
    assert not out.exists()
    assert _run(*command, "--on-bad-image", "skip") == 0
    assert out.is_dir()


@pytest.mark.slow
def test_from_two_folders_to_translated_images(data: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    done = unpaired(
        "train", "cyclegan", "--data", data, "--out", run, *arguments({**TINY, "training.tensorboard": True})
    )
    assert f"unpaired translate {run}" in done.stdout
    names = {p.name for p in run.iterdir()}
    assert {"config.json", "metrics.jsonl", "index.html", "samples", "checkpoints", "tensorboard"} <= names
    photos = tmp_path / "photos"
    (photos / "deeper").mkdir(parents=True)
    sizes = {"1.png": (1, 1), "deeper/wide.jpg": (37, 9), "tall.PNG": (8, 50), "deeper/big.webp": (130, 70)}
    rng = np.random.default_rng(0)
    for name, (width, height) in sizes.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(photos / name)
    (photos / "bad.png").write_bytes(b"no image")
    done = unpaired("translate", run, photos, "--out", out, check=1)
    assert "bad.png" in done.stderr
    assert "4 written" in done.stdout
    for name, size in sizes.items():
        with Image.open((out / name).with_suffix(".png")) as image:
            assert image.size == size
    done = unpaired("translate", run, photos, "--out", out, check=2)
    assert "--existing" in done.stderr
    unpaired("translate", run, photos, "--out", out, "--existing", "skip", check=1)

    translator = Translator.load(run, precision="auto")  # as the command chooses
    with Image.open(photos / "deeper" / "wide.jpg") as image:
        translated = np.asarray(translator(image), dtype=int)
    with Image.open(out / "deeper" / "wide.png") as image:
        assert np.abs(translated - np.asarray(image, dtype=int)).max() <= 1

    for what in (run, data, run / "checkpoints" / max(os.listdir(run / "checkpoints")), photos / "1.png"):
        assert unpaired("info", what).stdout
    exported = tmp_path / "authors.pth"
    unpaired("convert", run, "--to-official", "--out", exported)
    unpaired("convert", exported, "--out", tmp_path / "again")
    done = unpaired("translate", tmp_path / "again", photos / "tall.PNG", "--out", tmp_path / "out2")
    # The authors' file does not say at which scale it was trained.
    unpaired("translate", run, photos / "tall.PNG", "--out", tmp_path / "out3", "--size", "native")
    with Image.open(tmp_path / "out2" / "tall.png") as one, Image.open(tmp_path / "out3" / "tall.png") as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(
    ("tokens", "words", "never"),
    [
        (["translate", "m", "i", "--directoin", "a2b"], ["--direction?"], "--precision"),
        (["convert", "m", "--precision", "fp32"], ["no option --precision"], "Did you mean"),
        (["train", "cyclegan", "--netG", "resnet_6blocks"], ["method.generator.family", "blocks=6"], "Did you mean"),
        (["train", "cyclegan", "--gpu_ids", "0"], ["--device"], "Did you mean"),
        (["train", "cyclegan", "--n_epochs", "5"], ["--epochs"], "Did you mean"),
        (["train", "cyclegan", "--lambda_identity", "0"], ["method.identity_weight"], "Did you mean"),
        (["train", "cyclegan", "--dataroot", "x"], ["--data"], "Did you mean"),
        (["train", "cyclegan", "--continue_train"], ["--resume"], "Did you mean"),
        (["segment", "trian"], ['Did you mean "train"', "score"], "demo"),
    ],
)
def test_a_hint_is_of_the_right_command(
    tokens: list[str], words: list[str], never: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*tokens) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert never not in error


def test_every_answer_to_the_authors_options_can_be_given() -> None:
    known = {
        dotted
        for _, _, settings in [*_shared(), *(group for method in METHODS for group in _of_method(method))]
        for dotted, _ in settings
    }
    for ours in authors_options().values():
        for name in re.findall(r"--set ([a-zA-Z_.0-9]+)=", ours):
            assert name in known, name


def test_commands_are_listed_in_order_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--help") == 0
    shown = re.findall(r"^│ ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)
    assert tuple(shown) == ORDER


def test_a_path_with_a_setting_in_its_name_is_told_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "data.a"
    assert _run("train", "cyclegan", "--data", place, "--out", tmp_path / "out") == 2
    assert str(place) in capsys.readouterr().err
    assert _run("train", "cyclegan", "--data", place, "--set", "data.preprocess=x", "--out", tmp_path / "out") == 2
    assert "--set data.preprocess: received 'x'" in capsys.readouterr().err


def test_a_setting_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("settings", "cyclegan", "pool_size") == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("method.pool_size", "50", "from 0 to 100,000", "discriminators"))
    assert _run("settings", "data.crop_size") == 0
    assert "--crop-size" in capsys.readouterr().out
    assert _run("settings", "cut") == 0
    assert "method.nce_layers" in capsys.readouterr().out
    assert _run("settings", "pool_siz") == 2
    assert 'Did you mean "pool_size"' in capsys.readouterr().err


def test_the_page_of_settings_is_up_to_date() -> None:
    kept = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
    assert kept.read_text(encoding="utf-8") == page(), "run: unpaired settings --markdown > docs/settings.md"
