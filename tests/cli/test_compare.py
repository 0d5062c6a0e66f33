"""`unpaired compare` from plan to page: done, interrupted and gone on, refused."""

from __future__ import annotations

import csv
import io
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from comparisons import PLAN, write_labelled, write_plan
from runs import write_images
from unpaired import cli
from unpaired.compare.measure import Measuring
from unpaired.report.results import Comparison
from unpaired.training.health import NonFiniteError
from unpaired.training.trainer import Trainer

TWO_WAYS = PLAN.replace(
    'method = { name = "cyclegan" }',
    'method = { name = "pix2pix" }\npublished = [{ task = "photos_to_labels", pixel_accuracy = 0.85, '
    'class_accuracy = 0.40, class_iou = 0.32, mark = "recalled" }]',
).replace("With identity", "pix2pix")
"""CycleGAN, and pix2pix, which learns one direction from pairs."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


def compare(capsys: pytest.CaptureFixture[str], *tokens: str | Path, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", *map(str, tokens)])
    shown = capsys.readouterr()
    assert (stopped.value.code or 0) == code, shown.out + shown.err
    return shown.out, shown.err


@pytest.mark.slow
def test_interrupted_and_gone_on_it_ends_as_if_it_had_not_been(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out, whole = write_plan(tmp_path / "plan.toml", text=TWO_WAYS), tmp_path / "out", tmp_path / "whole"
    options = (plan, "--data", data, "--images", "9")
    steps, step = [0], Trainer.step

    def interrupted(self: Trainer, batches: Any) -> Any:
        steps[0] += 1
        if steps[0] == 14:  # the fifth step of the second training
            signal.raise_signal(signal.SIGINT)
        return step(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        _, error = compare(capsys, *options, "--out", out, code=130)
    assert "[2/3] pix2pix-a2b-seed0: training" in error
    assert "The same command goes on." in error
    assert not (out / "table.md").exists()
    shown, _ = compare(capsys, *options, "--out", out, "--dry-run")
    assert "cyclegan-seed0: finished" in shown
    assert re.search(r"pix2pix-a2b-seed0: [56] images done, to be resumed", shown)
    assert "pix2pix-b2a-seed0: to be trained" in shown

    shown, error = compare(capsys, *options, "--out", out)
    assert "[1/3] cyclegan-seed0: finished before" in error
    assert "[2/3] pix2pix-a2b-seed0: resuming" in error
    assert "[3/3] pix2pix-b2a-seed0: training" in error
    compare(capsys, *options, "--out", whole, "--quiet")
    for training in ("cyclegan-seed0", "pix2pix-a2b-seed0", "pix2pix-b2a-seed0"):
        for file in (whole / "runs" / training / "checkpoints" / "000000009").glob("*.safetensors"):
            one, other = load_file(file), load_file(out / "runs" / training / "checkpoints" / "000000009" / file.name)
            assert all(one[key].equal(other[key]) for key in one), f"{training}: {file.name}"

    _check_table(shown, out)
    _check_page(out)
    before = _document(out)
    again, error = compare(capsys, *options, "--out", out)
    assert error.count("finished before") == 3
    assert _document(out) == before
    assert again == shown

    weights = out / "runs" / "cyclegan-seed0" / "checkpoints" / "000000009" / "a2b.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    again, error = compare(capsys, *options, "--out", out)
    assert "[1/3] cyclegan-seed0: resuming" in error, "a damaged end is no end"
    assert _scores_of(again) == _scores_of(shown)


def _document(out: Path) -> Comparison:
    return Comparison.read(out).model_copy(update={"created": ""})


def _scores_of(table: str) -> list[str]:
    return [line for line in table.splitlines() if re.match(r"\| (CycleGAN|pix2pix).* 0\.\d{3} ", line)]


def _check_table(shown: str, out: Path) -> None:
    text = (out / "table.md").read_text()
    assert text in shown
    assert str(out / "index.html") in shown
    assert re.search(r"\| CycleGAN \| 0\.\d+ \| 0\.\d+ \| 0\.\d+ .* \| 0.52 / 0.17 / 0.11 \(second-hand\) \|", text)
    assert re.search(r"\| pix2pix \(with pairs\) .* \|", text)
    assert "0.85 / 0.40" not in text, "what nobody could confirm is not shown"
    assert re.search(r"\| real photos \| 0\.\d+", text)
    assert "not with published FCN-scores" in text
    assert "| sky |" in text
    assert "every translator sees 9 images; learning rate: constant for 1 of 2 epochs" in text
    assert "Checkpoint: the last one of every training" in text
    assert "Part: all held-out images, which chose the best checkpoint too" in text

    found = Comparison.read(out)
    methods = {(m.label, way): m for way, direction in found.directions.items() for m in direction.methods}
    assert set(methods) == {(label, way) for label in ("CycleGAN", "pix2pix") for way in ("a2b", "b2a")}
    assert all(direction.verdict for direction in found.directions.values())
    assert methods["pix2pix", "b2a"].mean("reconstruction_l1") is None
    names = {figure.name for figure in methods["CycleGAN", "b2a"].trainings[0].figures}
    assert {"class_iou", "l1", "input_l1", "reconstruction_l1"} <= names
    assert {one.checkpoint for method in methods.values() for one in method.trainings} == {"000000009"}
    rows = list(csv.DictReader(io.StringIO((out / "table.csv").read_text())))
    row = next(r for r in rows if (r["label"], r["direction"], r["measure"]) == ("CycleGAN", "b2a", "class_iou"))
    assert float(row["value"]) == methods["CycleGAN", "b2a"].mean("class_iou").value  # type: ignore[union-attr]


def _check_page(out: Path) -> None:
    page = (out / "index.html").read_text()
    assert page.count("<img") == 2 * 2 * (2 + 2), "directions x rows x (input, ground truth and two methods)"
    assert not re.search(r'(src|href)="(?!data:|#)', page), "one file, and it asks no other"
    heads = re.findall(r"<thead>\s*<tr>(.*?)</tr>\s*</thead>", page, re.DOTALL)
    names = [re.findall(r">([^<>]+)</th>", head) for head in heads]
    assert ["input", "ground truth", "CycleGAN", "pix2pix"] in names
    assert page.index("<img") < page.index('class="verdict"') < page.index("per-pixel acc.") < page.index("Protocol")
    with Image.open(out / "pictures.png") as picture:
        assert picture.width > 4 * 128


@pytest.mark.slow
def test_several_seeds_without_labels_and_one_entry_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_images(tmp_path / "data", {"trainA": 4, "trainB": 3, "testA": 3, "testB": 2}, size=36)
    plan, out = write_plan(tmp_path / "plan.toml", labels=False), tmp_path / "out"
    write_plan(plan, labels=False, text=PLAN.replace("images = 12", "images = 3"))
    options = (plan, "--data", data, "--out", out, "--seeds", "0,1")
    shown, _ = compare(capsys, *options, "--only", "with-identity", "--quiet")
    assert "CycleGAN: seed 0 is not trained yet; seed 1 is not trained yet." in shown
    assert not (out / "runs" / "cyclegan-seed0").exists()
    shown, _ = compare(capsys, *options, "--quiet")
    assert "not trained yet" not in shown
    assert "class IoU" not in shown, "there are no labels to compare"
    assert "0.52" not in shown
    assert re.search(r"\| CycleGAN \| \d+\S* ± .* \| 0\.\d+ ± 0\.\d+ \| 0\.\d+ ± 0\.\d+ \| 2 \|", shown)
    assert not (out / "segmenter").exists()
    method = Comparison.read(out).directions["a2b"].methods[0]
    assert [one.seed for one in method.trainings] == [0, 1]
    values = [figure.value for one in method.trainings for figure in one.figures if figure.name == "input_l1"]
    mean = method.mean("input_l1")
    assert mean is not None
    assert mean.value == pytest.approx(sum(values) / 2)  # type: ignore[arg-type]
    assert mean.error == pytest.approx(abs(values[0] - values[1]) / 2)  # type: ignore[operator]

    _, error = compare(capsys, *options, "--images", "4", "--dry-run", code=2)
    assert "training.max_images was 3 and is now 4" in error, "what is there is not told to be finished"
    for changes, words in (
        (("--images", "4", "--only", "with-identity"), ["cyclegan-seed0 was begun with other settings"]),
        (("--images", "4"), ["cyclegan-seed0 was begun with other settings", "training.max_images was 3 and is now 4"]),
        (("--set", "method.pool_size=7"), ["method.pool_size was 50 and is now 7"]),
        (("--crop-size", "16"), ["--crop-size was 32 and is now 16"]),
    ):
        _, error = compare(capsys, *options, *changes, code=2)
        for word in words:
            assert word in error
    write_images(data, {"trainA": 5}, size=36)
    _, error = compare(capsys, *options, code=2)
    assert "the data differs" in error
    assert "train_a was 4 and is now 5" in error


@pytest.mark.slow
def test_a_training_that_breaks_down_does_not_take_the_others_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_images(tmp_path / "data", {"trainA": 3, "trainB": 3}, size=36)
    plan, out = write_plan(tmp_path / "plan.toml", labels=False), tmp_path / "out"
    step, steps = Trainer.step, [0]

    def breaks(self: Trainer, batches: Any) -> Any:
        steps[0] += 1
        if steps[0] == 2:
            raise NonFiniteError("training stopped at step 2: gan_a2b = nan.")
        return step(self, batches)

    monkeypatch.setattr(Trainer, "step", breaks)
    options = (plan, "--data", data, "--out", out, "--images", "3", "--quiet")
    shown, error = compare(capsys, *options, code=1)
    assert "CycleGAN: seed 0 diverged (training stopped at step 2: gan_a2b = nan)." in shown
    assert re.search(r"\| With identity \| \d", shown)
    assert "Diverged: cyclegan-seed0. The same command tries again." in error
    shown, _ = compare(capsys, *options)
    assert re.search(r"\| CycleGAN \| \d", shown)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "out", "--seeds", "0,x"), "--seeds 0,x: expected whole numbers"),
        (("--out", "out", "--only", "CUT"), "--only CUT: there is no such entry"),
        (("--out", "out", "--images", "0"), "images: received 0"),
        (("--out", "out", "--set", "segmenter.widht=3"), 'segmenter.widht: unknown setting. Did you mean "width"'),
        (("--out", "out", "--set", "images.x=3"), "images is a single value, not a table"),
        (("--out", "out", "--set", "pictures=0"), "pictures: received 0"),
        (("--out", "out", "--crop-size", "small"), "--crop-size small"),
        (("--out", "out", "--set", "data.preprocess=none"), "needs images of one size"),
        (("--out", "out", "--set", "method.generator.blocks=-1"), "--set method.generator.blocks"),
        (("--out", "out", "--set", "images=3", "--images", "4"), "--images and --set images"),
        (("--out", "out", "--set", "training.device=cuda:99"), "cuda:99"),
        ((), "--out is missing"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    options: tuple[str, ...],
    words: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = write_plan(tmp_path / "plan.toml")
    _, error = compare(capsys, plan, "--data", data, *options, code=2)
    assert words in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["test", "train"])
def test_label_maps_that_say_nothing_are_told_before_hours_of_training(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_labelled(tmp_path / "data")
    for path in (root / f"{part}annot").iterdir():
        Image.new("L", (32, 32), 3).save(path)
    _, error = compare(capsys, write_plan(tmp_path / "plan.toml"), "--data", root, "--out", tmp_path / "out", code=2)
    assert f"label maps {'measured on' if part == 'test' else 'of the training'} (domain A) hold void alone" in error
    assert not (tmp_path / "out").exists()


def test_whole_batches_beyond_the_budget_are_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PLAN.replace(
        'method = { name = "cyclegan" }', 'method = { name = "cyclegan" }\ntraining = { batch_size = 8 }'
    )
    plan = write_plan(tmp_path / "plan.toml", text=text)
    shown, _ = compare(capsys, plan, "--data", data, "--out", tmp_path / "out", "--dry-run")
    assert "every translator sees 12 images (in whole batches: With identity 16); learning rate" in shown


@pytest.mark.slow
def test_sigterm_while_measuring_is_told_and_the_handler_is_given_back(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def before(*_: object) -> None:
        pytest.fail("nobody handled SIGTERM")

    outside = signal.signal(signal.SIGTERM, before)
    options = (write_plan(tmp_path / "plan.toml"), "--data", data, "--out", tmp_path / "out", "--images", "2")

    def terminated(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(Measuring, "measure", terminated)
            _, error = compare(capsys, *options, code=143)
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGTERM, outside)
    assert "The same command goes on." in error
    _, error = compare(capsys, *options)
    assert error.count("finished before") == 2


def test_pairs_that_are_needed_and_not_there_are_missed_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data", {"trainA": 3, "trainB": 2}, size=36)
    plan = write_plan(tmp_path / "plan.toml", labels=False, text=TWO_WAYS)
    _, error = compare(capsys, plan, "--data", data, "--out", tmp_path / "out", code=2)
    assert "without a partner" in error
    assert not (tmp_path / "out").exists()
    shown, _ = compare(capsys, plan, "--data", data, "--out", tmp_path / "out", "--only", "CycleGAN", "--dry-run")
    assert "pix2pix-a2b-seed0: left out (--only)" in shown


def test_another_folder_is_not_written_into(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    _, error = compare(capsys, write_plan(tmp_path / "plan.toml"), "--data", data, "--out", tmp_path, code=2)
    assert "is not the folder of a comparison" in error
