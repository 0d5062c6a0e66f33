from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unpaired.core.errors import UserError
from unpaired.models.folder import link_folder
from unpaired.networks import ResnetConfig
from unpaired.serve import registry as registry_module
from unpaired.serve.monitor import Monitor
from unpaired.serve.registry import Registry
from unpaired.serve.settings import ServeSettings
from unpaired.web.refused import Refused

MakeModel = Callable[..., Path]
SETTINGS = ServeSettings(engine="torch", precision="fp32", device="cpu")


@pytest.fixture
def make_run(make_model: MakeModel, tmp_path: Path) -> Callable[..., Path]:
    """Add a checkpoint to a run; networks differ by their width."""

    def add(images: int, width: int = 4) -> Path:
        run = tmp_path / "run"
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        make_model(f"run/checkpoints/{images:09d}", config=ResnetConfig(width=width, blocks=1))
        return run

    return add


def with_registry(models: list[str], test: Callable[[Registry], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        registry = Registry(models, SETTINGS, Monitor())
        try:
            await test(registry)
        finally:
            registry.close()

    asyncio.run(main())


def test_models_have_names(make_model: MakeModel) -> None:
    one, two = make_model("one"), make_model("two", directions=("b2a",))

    async def test(registry: Registry) -> None:
        assert [*registry.models] == ["one", "second"]
        assert registry.find(None).name == "one"
        assert registry.find("second").key(None, None).direction == "b2a"
        with pytest.raises(Refused, match=r"Models: one, second") as missing:
            registry.find("third")
        assert missing.value.status == 404
        with pytest.raises(Refused, match=r"b2a only"):
            registry.find("second").key("a2b", None)
        with pytest.raises(Refused, match="none, since it is no run"):
            registry.find("one").key(None, "best")

    with_registry([str(one), f"second={two}"], test)


def test_what_is_no_model_or_has_a_name_twice_is_an_error_at_the_start(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    for models, message in (([str(tmp_path / "no")], "there is no model"), ([str(model)] * 2, "NAME=")):
        with pytest.raises(UserError, match=message):
            Registry(models, SETTINGS, Monitor())
    with pytest.raises(UserError, match="this model translates in one step, without noise"):
        Registry([str(model)], replace(SETTINGS, seed=1), Monitor())


def test_a_checkpoint_is_chosen_as_the_command_does(make_run: Callable[..., Path]) -> None:
    make_run(10)
    run = make_run(20)
    link_folder(run / "best", run / "checkpoints" / "000000010", {})

    async def test(registry: Registry) -> None:
        model = registry.find("run")
        assert model.checkpoints == ["best", "last", "20", "10"]
        assert model.key(None, None).checkpoint == "best"
        assert model.key(None, "000000020").checkpoint == "20"
        for name in ("30", "../x", "9" * 40, "\u0663"):
            with pytest.raises(Refused, match="There are: best, last, 20, 10"):
                model.key(None, name)
        translator = await model.translator(model.key("b2a", "10"))
        assert (translator.direction, translator.folder) == ("b2a", run / "checkpoints" / "000000010")
        assert await model.translator(model.key("b2a", "10")) is translator

    with_registry([str(run)], test)


def test_a_newer_checkpoint_takes_over_and_a_damaged_one_does_not(make_run: Callable[..., Path]) -> None:
    run = make_run(10, width=4)

    async def test(registry: Registry) -> None:
        model = registry.find("run")
        await model.load_all()
        assert model.ready
        key = model.key("a2b", None)
        first = await model.translator(key)
        await model.refresh()
        assert await model.translator(key) is first  # nothing has changed

        make_run(20, width=6)
        weights = run / "checkpoints" / "000000020" / "a2b.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-8])
        await model.refresh()
        assert await model.translator(key) is first
        weights.write_bytes(whole)
        (run / "checkpoints" / "000000030").mkdir()  # one that is being written
        await model.refresh()
        second = await model.translator(key)
        assert second.network.config != first.network.config
        assert "20" in model.checkpoints
        # Who holds the first one still translates with it.
        assert len(first.translate_values([np.zeros((8, 8, 3), np.float32)])) == 1

        link_folder(run / "best", run / "checkpoints" / "000000010", {})
        await model.refresh()
        best = await model.translator(model.key("a2b", None))
        assert best.network.config == first.network.config
        assert model.ready

    with_registry([str(run)], test)


def test_a_model_that_cannot_be_loaded_is_told_and_tried_again(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()

    async def test(registry: Registry) -> None:
        served = registry.find("model")
        shutil.move(model / "a2b.safetensors", tmp_path / "aside")
        await served.load_all()
        assert not served.ready
        with pytest.raises(Refused) as refused:
            await served.translator(served.key("a2b", None))
        assert (refused.value.status, str(tmp_path) in str(refused.value)) == (503, False)
        shutil.move(tmp_path / "aside", model / "a2b.safetensors")
        await served.translator(served.key("a2b", None))
        assert served.ready

    with_registry([str(model)], test)


def test_several_who_ask_load_once_and_few_checkpoints_are_kept(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for images in range(1, 6):
        run = make_run(images)
    monkeypatch.setattr(registry_module, "MOST_LOADED", 4)
    opened: list[str | None] = []
    load = registry_module._open
    monkeypatch.setattr(registry_module, "_open", lambda *given: (opened.append(given[1].checkpoint), load(*given))[1])

    async def test(registry: Registry) -> None:
        model = registry.find("run")
        await asyncio.gather(*(model.translator(model.key("a2b", "last")) for _ in range(3)))
        assert opened == ["last"]
        for images in ("1", "2", "3", "4", "5"):
            await model.translator(model.key("a2b", images))
        await model.translator(model.key("a2b", "last"))
        assert opened == ["last", "1", "2", "3", "4", "5"]
        await model.translator(model.key("a2b", "1"))
        assert opened[-1] == "1"

    with_registry([str(run)], test)
