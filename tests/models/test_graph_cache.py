from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from threading import Thread
from typing import Any

import onnx_ir
import pytest
import torch

from unpaired.core.errors import UserError
from unpaired.models import graph
from unpaired.models.exactness import EXACT, Exactness
from unpaired.models.graph import graph_file, has_graph, recall_exactness
from unpaired.networks import Generator, ResnetConfig, build_generator


@pytest.fixture
def network() -> Generator:
    return build_generator(ResnetConfig(width=2, blocks=0), 3, 3).eval()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Generator]:
    """Count the graphs that are made; each is an empty one, made at once."""
    calls: list[Generator] = []

    def trace_onnx(network: Generator) -> Any:
        calls.append(network)
        graph = onnx_ir.Graph([], [], nodes=[], opset_imports={"": 18}, name=f"graph {len(calls)}")
        return onnx_ir.Model(graph, ir_version=10)

    monkeypatch.setattr(graph, "trace_onnx", trace_onnx)
    return calls


def test_a_graph_is_made_once(network: Generator, made: list[Generator]) -> None:
    assert not has_graph("one")
    for _ in range(2):
        with graph_file(network, "one") as path:
            content = path.read_bytes()
    assert len(made) == 1
    assert has_graph("one")
    assert not has_graph("two")
    assert b"graph 1" in content


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: bytes(len(content))])
def test_a_damaged_graph_is_made_again(network: Generator, made: list[Generator], damage: Any) -> None:
    with graph_file(network, "one") as path:
        path.write_bytes(damage(path.read_bytes()))
    assert not has_graph("one")
    with graph_file(network, "one") as path:
        assert b"graph 2" in path.read_bytes()


def test_without_a_fingerprint_nothing_is_kept(network: Generator, made: list[Generator]) -> None:
    with graph_file(network, None) as path:
        assert path.is_file()
    assert not path.exists()
    assert not has_graph(None)


def test_several_at_once_make_one_graph(network: Generator, made: list[Generator]) -> None:
    found: list[bytes] = []

    def work() -> None:
        with graph_file(network, "one") as path:
            found.append(path.read_bytes())

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(found) == 4
    assert len(set(found)) == 1


def test_the_least_recently_used_graphs_make_room(
    network: Generator, made: list[Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    with graph_file(network, "old") as old:
        size = old.stat().st_size
        os.utime(old, (1, 1))
    monkeypatch.setattr(graph, "GRAPHS", dataclasses.replace(graph.GRAPHS, limit_bytes=size + size // 2))
    with graph_file(network, "new"):
        pass
    assert has_graph("new")
    assert not old.exists()


def test_a_cache_that_cannot_be_written(
    network: Generator, made: list[Generator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path / "file"))
    assert not has_graph("one")
    with pytest.raises(UserError, match="UNPAIRED_CACHE"), graph_file(network, "one"):
        pass
    assert recall_exactness({"engine": "x"}, "one", lambda: EXACT) == EXACT, "what cannot be kept is measured"


def test_exactness_is_measured_once_in_each_setting() -> None:
    measured = []

    def measure() -> Exactness:
        measured.append(1)
        return Exactness(largest=0.5, typical=0.1 * len(measured), psnr=12.0)

    first = recall_exactness({"engine": "x", "precision": "bf16"}, "one", measure)
    assert recall_exactness({"precision": "bf16", "engine": "x"}, "one", measure) == first
    assert len(measured) == 1
    for setting, fingerprint in (({"engine": "x", "precision": "fp32"}, "one"), ({"engine": "x"}, "two")):
        assert recall_exactness(setting, fingerprint, measure) != first
    recall_exactness({"engine": "x", "precision": "bf16"}, None, measure)
    assert len(measured) == 4


def test_a_graph_of_another_version_of_pytorch_is_another(
    network: Generator, made: list[Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    with graph_file(network, "one"):
        pass
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert not has_graph("one")


def test_a_graph_that_cannot_be_made_is_one_message(network: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    def trace_onnx(network: Generator) -> Any:
        raise RuntimeError("no translation of aten::unknown.\nSee the log.")

    monkeypatch.setattr(graph, "trace_onnx", trace_onnx)
    with (
        pytest.raises(UserError, match=r"cannot be made .* aten::unknown\. Choose --engine torch"),
        graph_file(network, "x"),
    ):
        pass
    assert not has_graph("x")
