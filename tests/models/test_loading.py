"""What identifies a network; that loading itself is right is tested with the translator."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unpaired import cli
from unpaired.core.errors import UserError
from unpaired.models import folder as checkpoint
from unpaired.models.folder import CARD, MANIFEST, read_card, read_tensors, write_model
from unpaired.models.loading import load_generator

MakeModel = Callable[..., Path]


def test_fingerprints_are_equal_for_equal_networks_only(make_model: MakeModel) -> None:
    folder = make_model()
    one = load_generator(folder)
    assert one.fingerprint == load_generator(folder, "a2b").fingerprint
    assert one.fingerprint == load_generator(make_model("copy")).fingerprint, "where it lies is of no matter"
    assert one.fingerprint != load_generator(folder, "b2a").fingerprint
    weights = read_tensors(folder, "a2b.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 0.5
    write_model(folder, read_card(folder), {"a2b.safetensors": weights, "b2a.safetensors": {}})
    assert one.fingerprint != load_generator(folder).fingerprint


def test_the_network_is_ready_to_translate(make_model: MakeModel) -> None:
    loaded = load_generator(make_model(), "b2a")
    assert loaded.direction == "b2a"
    assert not loaded.network.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in loaded.network.parameters())
    with pytest.raises(UserError, match="no such direction"):
        load_generator(make_model("other"), "b2c")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(make_model: MakeModel, value: float) -> None:
    folder = make_model()
    weights = read_tensors(folder, "a2b.safetensors")
    weights["head.convolution.weight"][0, 0, 0, 0] = value
    write_model(folder, read_card(folder), {"a2b.safetensors": weights, "b2a.safetensors": {}})
    with pytest.raises(UserError, match=r"1 of 588 values of head\.convolution\.weight are not finite"):
        load_generator(folder)


# ------------------------------------------------------------------------------------------------------- forged cards


def _forge(folder: Path, card: Any) -> None:
    """Write a card and make the checksums right, as whoever forges a model would."""
    (folder / CARD).write_text(json.dumps(card))
    files = {p.name: checkpoint._fingerprint(p) for p in sorted(folder.iterdir()) if p.name != MANIFEST}
    manifest = {"files": files, "sha256": checkpoint._manifest_digest(files)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield (*path, key)
        yield from _places(value, (*path, key))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["..", "a2b", "unet"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_forged_card_loads_or_is_one_message(make_model: MakeModel, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "model" if (tmp_path / "model").exists() else make_model()
    original = tmp_path / "original.json"
    if not original.exists():
        original.write_text((folder / CARD).read_text())
    card = json.loads(original.read_text())
    *outer, last = data.draw(st.sampled_from(list(_places(card))))
    table = card
    for key in outer:
        table = table[key]
    if data.draw(st.booleans()):
        table[last] = data.draw(VALUES)
    else:
        del table[last]
    _forge(folder, card)
    with contextlib.suppress(UserError):
        load_generator(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"translators": {}},
        {"domains": {}},
        {"translators": {"c2d": {"network": {}, "weights": "a2b.safetensors"}}},
        {"domains": {"a": {"channels": 10**9}, "b": {"channels": 3}}},
        {"images_seen": 10**40, "training_size": [-1, 10**30]},
    ],
)
def test_commands_on_forged_cards_end_with_a_message(
    make_model: MakeModel, tmp_path: Path, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_model()
    _forge(folder, {**json.loads((folder / CARD).read_text()), **changes})
    (tmp_path / "in").mkdir()
    for command in (
        ["info", str(folder)],
        ["convert", str(folder), "--to-official", "--out", str(tmp_path / "G.pth")],
        ["translate", str(folder), str(tmp_path / "in"), "--out", str(tmp_path / "out")],
        ["export", str(folder), "--out", str(tmp_path / "G.onnx")],
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(command)
        assert stopped.value.code in (None, 0, 2), capsys.readouterr().err
