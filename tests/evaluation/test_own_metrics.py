"""A user's own metric: one class, named as package.module:Name, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluations import pictures, write_data, write_pictures, write_small_model
from unpaired import cli
from unpaired.core.errors import UserError
from unpaired.evaluation import evaluate

OWN = '''
from unpaired.evaluation.metrics import ImageMetric, Metric, Need, SetMetric


class Brightness(Metric):
    """How much brighter translations are than the real images, on average."""

    name, title, group, better = "brightness", "Brightness against real images", "distribution", "lower"
    needs = frozenset({Need.REAL})

    def __init__(self, context):
        super().__init__(context)
        self.sums = {"fake": [], "real": []}

    def update_real(self, images):
        self.sums["real"] += images.mean((1, 2, 3)).tolist()

    def update(self, batch):
        self.sums["fake"] += batch.fake.mean((1, 2, 3)).tolist()

    def compute(self):
        fake, real = (sum(values) / len(values) for values in self.sums.values())
        return self.figure(abs(fake - real))


class Change(ImageMetric):
    """Largest change of a value."""

    name, title, group, needs = "change", "Largest change", "content", frozenset({Need.INPUT})

    def compare(self, x, y):
        return (x - y).abs().amax((1, 2, 3))


class Means(SetMetric):
    """Distance of the mean features."""

    name, title, group, better = "means", "Distance of the mean features", "distribution", "lower"
    needs = frozenset({Need.FEATURES})

    def distance(self, real, fake):
        return [self.figure(float(abs(real.features["features"].mean(0) - fake.features["features"].mean(0)).sum()))]


class Nothing:
    """No metric."""
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    module = f"own_metrics_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return module


def test_own_metrics_in_python(own: str, tmp_path: Path) -> None:
    real = write_pictures(tmp_path / "real", [image // 2 for image in pictures(4)])
    fake = write_pictures(tmp_path / "fake", pictures(4))
    found = evaluate(
        real=real,
        fake=fake,
        input=real,
        metrics=["swd", f"{own}:Brightness", f"{own}:Change", f"{own}:Means"],
        features="evaluations:small_vectors",
        device="cpu",
    ).directions["folders"]
    assert [one.name for one in found.figures if not one.detail] == ["swd", "brightness", "change", "means"]
    values = {one.name: one.value for one in found.figures}
    assert all(value is not None and value > 0 for value in values.values())
    assert {"untranslated", "real_halves"} == set(found.bounds)
    bound = {one.name: one.value for one in found.bounds["untranslated"]}
    assert bound["means"] == 0, "bounds of sets come by themselves"
    assert found.figure("brightness").protocol["size"] == "32 x 32"


def test_own_metrics_on_the_command_line(own: str, tmp_path: Path) -> None:
    model, data = write_small_model(tmp_path / "model"), write_data(tmp_path / "data")
    with pytest.raises(SystemExit) as stopped:
        cli.main(
            [
                "evaluate",
                str(model),
                "--data",
                str(data),
                "--metrics",
                f"swd,{own}:Change",
                "--out",
                str(tmp_path / "out"),
            ]
        )
    assert stopped.value.code == 0
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {"swd", "change"} <= {one["name"] for one in document["directions"]["a2b"]["figures"]}


@pytest.mark.parametrize(
    ("name", "words"),
    [("Nothing", "must be a class derived from .*Metric"), ("Chnge", "has no Chnge"), ("Change", "input")],
)
def test_what_is_no_metric_or_has_no_inputs_is_refused(own: str, tmp_path: Path, name: str, words: str) -> None:
    real = write_pictures(tmp_path / "real", pictures(4))
    with pytest.raises(UserError, match=words):
        evaluate(real=real, fake=real, metrics=f"{own}:{name}", device="cpu")
