"""The same name is the same arithmetic: training, `evaluate` and a comparison agree on the same images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluations import pictures, write_data, write_pictures, write_small_model, write_small_run
from unpaired.data.config import DataConfig
from unpaired.data.labels import Labels
from unpaired.data.training import open_training_data
from unpaired.data.values import Domain
from unpaired.evaluation import evaluate
from unpaired.evaluation.dataset import Images, Row, Task
from unpaired.evaluation.engine import measure, open_reference, plan
from unpaired.evaluation.inputs import open_model
from unpaired.evaluation.metrics import METRICS
from unpaired.evaluation.protocol import COMPARISON, FULL, TRAINING, Protocol
from unpaired.evaluation.translations import Translators
from unpaired.models.files import translate_files as translate
from unpaired.models.translator import Translator
from unpaired.networks import Generator
from unpaired.report.results import Direction
from unpaired.training.evaluation import HeldOut

CPU = torch.device("cpu")


class Negative(Generator):
    """Exchanges bright and dark."""

    def __init__(self) -> None:
        super().__init__(None, 3, 3, size_multiple=4, minimum_size=8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return -0.8 * image


PALETTE = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))


def evaluated(model: Path, data: Path, direction: str, protocol: Protocol) -> Direction:
    opened = open_model(model, data=data, device="cpu")
    ways = opened.ways(direction)
    return measure(plan(opened.task(direction), METRICS.values(), translators=ways, protocol=protocol))


def values(found: Direction) -> dict[str, float | None]:
    return {one.name: one.value for one in found.figures}


@pytest.mark.parametrize("labelled", [False, True])
def test_training_and_evaluate_agree(tmp_path: Path, labelled: bool) -> None:
    """Also where the target is a label map: it is snapped to the palette before anything is measured."""
    data = write_data(tmp_path / "data", test=5)
    domains = {"a": Domain(channels=3), "b": Domain(channels=3)}
    config = DataConfig(root=str(data), preprocess="none")
    if labelled:
        rng = np.random.default_rng(0)
        for part in ("trainB", "testB"):
            for path in (data / part).iterdir():
                path.unlink()
            maps = [np.array(PALETTE, np.uint8)[rng.integers(0, 4, (32, 32))] for _ in range(5)]
            write_pictures(data / part, maps)
        labels: Any = {"kind": "colour", "palette": PALETTE}
        config = DataConfig(root=str(data), preprocess="none", labels_b=labels)
        domains["b"] = open_training_data(config).domain_b
        assert isinstance(domains["b"].labels, Labels)
    model = write_small_model(tmp_path / "model", domains)
    networks = {name: Translator.load(model, name, device="cpu", engine="torch").network for name in ("a2b", "b2a")}
    training = HeldOut(open_training_data(config, size_multiple=1), 50, CPU).measure(networks).figures
    for direction in ("a2b", "b2a"):
        found = values(evaluated(model, data, direction, TRAINING))
        for name in ("swd", "reconstruction_l1"):
            assert training[f"{name}_{direction}"] == pytest.approx(found[name], rel=1e-5)
        full = values(evaluated(model, data, direction, FULL))
        assert full["reconstruction_l1"] == found["reconstruction_l1"], "only the distances of sets have a protocol"
        assert full["swd"] != found["swd"]


def test_a_comparison_and_evaluate_agree_figure_by_figure_and_bound_by_bound(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", test=6)
    model = write_small_model(tmp_path / "model")
    expected = evaluated(model, data, "a2b", FULL)
    opened = open_model(model, data=data, device="cpu")
    sources = {"a": opened.dataset.test.a, "b": opened.dataset.test.b}
    images = {
        side: Images(
            source=source,
            domain=opened.card.domains[side],
            sizes=[source[place].shape[:2] for place in range(len(source))],
            positions=tuple(range(len(source))),
            files=source.files,
        )
        for side, source in sources.items()
    }
    task = Task(
        direction="a2b",
        heading="A to B",
        target_name="B",
        inputs=images["a"],
        fakes=None,
        real=images["b"],
        rows=tuple(Row(place, None, None) for place in images["a"].positions),
        split="test",
    )
    chosen = plan(task, METRICS.values(), translators=opened.ways("a2b"), protocol=replace(COMPARISON, batch_size=3))
    found = measure(chosen, reference=open_reference(chosen, cached=False))
    assert values(found) == pytest.approx(values(expected), rel=1e-5)
    assert found.bounds.keys() == expected.bounds.keys() == {"untranslated", "real_halves"}
    for name, bound in found.bounds.items():
        assert [one.value for one in bound] == pytest.approx([one.value for one in expected.bounds[name]], rel=1e-5)


def test_folders_of_written_translations_agree_with_the_model_that_made_them(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", test=4)
    model = write_small_model(tmp_path / "model")
    translator = Translator.load(model, "a2b", device="cpu", engine="torch")
    images = pictures(4, 32, 2)  # those of testA
    (tmp_path / "fake").mkdir()
    for number, made in enumerate(translator.translate_images(images)):
        made.write(tmp_path / "fake" / f"{number}.png")
    written = evaluate(real=data / "testB", fake=tmp_path / "fake", input=data / "testA", device="cpu")
    made_now = values(evaluated(model, data, "a2b", FULL))
    for name, value in values(written.directions["folders"]).items():
        assert value == pytest.approx(made_now[name], rel=1e-5), name


@pytest.mark.parametrize("options", [{}, {"size": "native"}])
def test_what_is_measured_is_what_translate_writes(tmp_path: Path, options: dict[str, Any]) -> None:
    """A run trained far below its images' size: its evaluation and that of the files that it writes agree.

    It used to be measured on images that had been resized to 24 x 24, while `translate` saw them at 96 x 72.
    """
    data = tmp_path / "data"
    for seed, (part, count) in enumerate({"trainA": 2, "trainB": 2, "testA": 5, "testB": 6}.items()):
        write_pictures(data / part, pictures(count, (96, 72), seed))
    run = write_small_run(tmp_path / "run", {"root": str(data), "crop_size": 24, "load_size": 27})
    translate(Translator.load(run, "a2b", device="cpu", **options), data / "testA", tmp_path / "fake")
    measured = evaluate(run, device="cpu", direction="a2b", translate_size=options.get("size"))
    written = evaluate(
        real=data / "testB", fake=tmp_path / "fake", input=data / "testA", size=(24, 24), device="cpu", seed=0
    )
    found, expected = values(measured.directions["a2b"]), values(written.directions["folders"])
    for name in ("swd", "colour", "structure_edges", "input_l1"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5), name
    facts = measured.directions["a2b"].figure("swd").protocol
    assert (facts["size"], str(facts["translated_at"]).startswith("24 x 24")) == ("24 x 24", not options)
    if not options:
        native = evaluate(run, device="cpu", direction="a2b", translate_size="native", metrics="swd,colour")
        assert values(native.directions["a2b"])["swd"] != pytest.approx(found["swd"], rel=0.03)


@pytest.mark.parametrize("preprocess", ["resize_and_crop", "scale_width"])
def test_training_measures_what_the_way_to_the_images_own_size_and_back_leaves(tmp_path: Path, preprocess: str) -> None:
    data = tmp_path / "data"
    for seed, (part, count) in enumerate({"trainA": 2, "trainB": 2, "testA": 5, "testB": 6}.items()):
        write_pictures(data / part, pictures(count, (96, 72), seed))
    crop = {"crop_size": 24} if preprocess == "resize_and_crop" else {}
    settings = {"root": str(data), "preprocess": preprocess, "load_size": 28, **crop}
    run = write_small_run(tmp_path / "run", settings)
    config: Any = DataConfig(**settings)  # type: ignore[arg-type]
    training = HeldOut(open_training_data(config), 50, CPU).measure({"a2b": Negative()}).figures
    opened = open_model(run, device="cpu", direction="a2b", back=False)
    ways = Translators(forward=Translator(Negative(), opened.card, "a2b", device="cpu"))
    found = values(measure(plan(opened.task("a2b"), METRICS.values(), translators=ways, protocol=TRAINING)))
    for name in ("swd", "colour"):
        assert training[f"{name}_a2b"] == pytest.approx(found[name], rel=0.03), name
