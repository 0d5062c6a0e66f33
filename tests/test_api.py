"""What `import unpaired` offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import unpaired
from runs import TINY, write_images


def test_all_public_names_are_listed_and_there() -> None:
    assert {*unpaired.__all__} <= {*dir(unpaired)}
    for name in unpaired.__all__:
        found = getattr(unpaired, name)
        assert name == "__version__" or found.__doc__
    assert unpaired.losses.gradient_penalty
    assert unpaired.metrics.ssim
    assert unpaired.networks.ResnetGenerator
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        unpaired.trian  # noqa: B018


def test_the_names_are_imported_when_they_are_used() -> None:
    code = "import sys, unpaired; dir(unpaired); assert 'torch' not in sys.modules; unpaired.train; import torch"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_translates_in_one_call(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", {"trainA": 2, "trainB": 2, "testA": 2, "testB": 2})
    run = unpaired.train(data=data, out=tmp_path / "run", settings={**TINY, "training.max_images": 1}, quiet=True).run
    report = unpaired.translate(run, data / "testA", tmp_path / "out")
    assert report.written == 2
    evaluation = unpaired.evaluate(run, metrics="swd", bounds=False)
    assert set(evaluation.directions) == {"a2b", "b2a"}


def test_training_takes_settings_by_name(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", {"trainA": 2, "trainB": 2})
    settings = {**TINY, "training.max_images": 1, "data.crop_size": 8}
    result = unpaired.train(
        data=data, out=tmp_path / "run", settings=settings, crop_size=16, cycle_weight=3.0, seed=7, quiet=True
    )
    from unpaired.training.settings import read_file

    values = read_file(result.run / "config.json").values
    assert (values["data.crop_size"], values["method.cycle_weight"], values["training.seed"]) == (16, 3.0, 7)
    with pytest.raises(unpaired.UserError, match=r"cut .*no such setting|cycle_weight"):
        unpaired.train("cut", data=data, out=tmp_path / "other", cycle_weight=3.0)
    assert not (tmp_path / "other").exists()
