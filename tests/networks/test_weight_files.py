from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.networks.weight_files import read_weights

WEIGHTS = OrderedDict({"model.1.weight": torch.randn(2, 3), "model.1.bias": torch.arange(4)})


def _same(found: dict[str, Tensor]) -> bool:
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_plain_wrapped_and_prefixed_files(tmp_path: Path, zipped: bool, wrapper: str | None, prefix: str) -> None:
    content = OrderedDict((prefix + name, value) for name, value in WEIGHTS.items())
    path = tmp_path / "latest_net_G_A.pth"
    torch.save({wrapper: content, "epoch": 3} if wrapper else content, path, _use_new_zipfile_serialization=zipped)
    assert _same(read_weights(path))


def test_a_whole_state_dict_and_safetensors(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth").keys() == network.state_dict().keys()
    save_file(dict(WEIGHTS), tmp_path / "b.safetensors")
    assert _same(read_weights(tmp_path / "b.safetensors"))


def test_tensors_as_pytorch_0_3_pickled_them(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    torch.save({"weight": Old(tensor)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(tmp_path / "old.pth")["weight"], tensor)


class Old:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        storage = torch.storage.TypedStorage(
            wrap_storage=self.tensor.untyped_storage(), dtype=self.tensor.dtype, _internal=True
        )
        return torch._utils._rebuild_tensor, (storage, 0, tuple(self.tensor.shape), self.tensor.stride())


class Attack:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_code_is_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"
    torch.save({"w": Attack(str(victim))}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"io\.open.*refused"):
        read_weights(path)
    assert not victim.exists()


def test_a_plain_pickle_that_wants_code_is_refused(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Attack(str(victim)), protocol=2))
    with pytest.raises(UserError, match=r"evil\.pth"):
        read_weights(path)
    assert not victim.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_network_is_refused_with_the_remedy(tmp_path: Path, zipped: bool) -> None:
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.conv\.Conv2d.*state_dict\(\)"):
        read_weights(tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", bytes(1000), b"PK\x03\x04" + bytes(50)])
def test_files_of_another_kind(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    share=st.floats(0, 1, exclude_max=True), flips=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), max_size=3)
)
def test_damaged_files(tmp_path: Path, zipped: bool, share: float, flips: list[tuple[int, int]]) -> None:
    """Cut short a file is always refused; with flipped bytes it may still read, but never fails in another way."""
    path = tmp_path / "whole.pth"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError):
        read_weights(path)
    for place, change in flips:
        content[place % len(content)] ^= change
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        read_weights(path)


@pytest.mark.parametrize(
    "content",
    [{}, {"a": 1}, {"a": "text"}, {1: torch.zeros(1)}, [torch.zeros(1)], torch.zeros(1), {"a": {"b": torch.zeros(1)}}],
)
def test_other_content(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match="holds"):
        read_weights(tmp_path / "a.pth")


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(UserError, match="is not a file"):
            read_weights(path)


def test_a_refusal_does_not_pass_on_the_advice_to_load_unsafely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's own message says how to switch safe loading off."""
    file = tmp_path / "net.pth"
    file.write_bytes(b"\x80\x02.")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Weights only load failed. Re-run `torch.load` with `weights_only` set to `False` ...")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(UserError, match="no plain tensors") as caught:
        read_weights(file)
    assert "weights_only" not in str(caught.value)
    assert "False" not in str(caught.value)


def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"whole": torch.zeros(3), "bad": torch.tensor([1.0, float("nan")])}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="1 of 2 values of bad are not finite"):
        read_weights(tmp_path / "a.pth")


def _zip(path: Path, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\4\0\0\0\1\0\0\0" + bytes(100), "Torch 7"),
        (b"\n <!DOCTYPE html><title>Sign in</title>", "HTML page"),
        (b"<HTML>", "HTML page"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.0.1", "ONNX"),
        (bytes(257) + b"ustar\x0000" + bytes(300), "tar archive"),
        (b"\x1f\x8b\x08\x00" + bytes(50), "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"", "empty"),
        ({"readme.txt": b"", "latest_net_G_A.pth": b""}, r"zip archive of readme\.txt and latest_net_G_A\.pth"),
        ({"a.npy": b""}, "NumPy"),
        ({"config.json": b"", "model.weights.h5": b""}, "Keras"),
        ({"net/code/x.py": b"", "net/constants.pkl": b"", "net/data.pkl": b""}, "TorchScript"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
def test_files_are_named_for_what_they_are(
    tmp_path: Path, content: bytes | dict[str, bytes], what: str, suffix: str
) -> None:
    path = tmp_path / f"G{suffix}"
    _zip(path, content) if isinstance(content, dict) else path.write_bytes(content)
    with pytest.raises(UserError, match=what):
        read_weights(path)


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    save_file(dict(WEIGHTS), tmp_path / "G.pth")
    assert _same(read_weights(tmp_path / "G.pth"))


def _rebuilt(size: int) -> Old:
    """Stand for a tensor of `size` numbers that all lie at one place of a small storage."""

    class Expanded(Old):
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            rebuild, (storage, *_) = super().__reduce__()  # type: ignore[misc]
            return rebuild, (storage, 0, (size,), (0,))

    return Expanded(torch.zeros(1))


def test_bombs_are_refused_before_they_take_memory(tmp_path: Path) -> None:
    """In a process with little memory: a deflated archive, a tensor of stride 0, and a file that is mostly a hole."""
    torch.save({"w": torch.zeros(64 << 20)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as archive:
        _zip(tmp_path / "deflated.pth", {name: archive.read(name) for name in archive.namelist()})
    (tmp_path / "plain.pth").unlink()
    assert (tmp_path / "deflated.pth").stat().st_size < 1 << 20
    torch.save({"w": _rebuilt(1 << 34)}, tmp_path / "stride.pth", _use_new_zipfile_serialization=False)
    with (tmp_path / "sparse.pth").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(tmp_path / "fifo.pth")
    code = (
        "import pathlib, resource, sys\n"
        "from unpaired.networks.weight_files import read_weights\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        print('read', path)\n        read_weights(path)\n"
        "    except ValueError as error:\n        print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, capture_output=True, text=True)
    *told, grown = done.stdout.splitlines()
    assert [line.endswith("not read.") for line in told[1::2]] == [True] * 4, done.stdout + done.stderr
    assert int(grown) < 100_000, "kB"


def test_a_pickle_that_is_no_archive_is_one_message_and_no_warning(tmp_path: Path) -> None:
    (tmp_path / "old.pth").write_bytes(pickle.dumps(OrderedDict(a=print)))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(UserError, match=r"cannot be read as a PyTorch weight file|wants to run"):
            read_weights(tmp_path / "old.pth")
    assert not seen
