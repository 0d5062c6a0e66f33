from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from unpaired.core.errors import UserError
from unpaired.data.values import Domain
from unpaired.models import folder as checkpoint
from unpaired.models.folder import (
    BEST,
    CARD,
    CHECKPOINTS,
    MANIFEST,
    DamagedError,
    ModelCard,
    TranslatorCard,
    checkpoint_folder,
    checkpoints_of,
    find_model,
    newest_checkpoint,
    read_card,
    read_document,
    read_tensors,
    verify,
    write_model,
)
from unpaired.networks import ResnetConfig, build_generator, describe_generator

FILES = ("a2b.safetensors", "state.json", "training.safetensors", CARD, MANIFEST)


def make_card(**changes: Any) -> ModelCard:
    network = describe_generator(build_generator(ResnetConfig(width=4, blocks=1), 3, 1))
    settings: dict[str, Any] = {
        "method": "cyclegan",
        "origin": "made by a test, Größe 1",
        "images_seen": 12_000,
        "training_size": (64, 48),
        "domains": {"a": Domain(channels=3), "b": Domain(channels=1, dtype="uint16", range=(0.0, 4095.0))},
        "translators": {"a2b": TranslatorCard(network=network, weights="a2b.safetensors")},
        "versions": {"unpaired": "0.1.0"},
    }
    return ModelCard(**(settings | changes))


def tensors_of(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    network = build_generator(ResnetConfig(width=4, blocks=1), 3, 1)
    weights = {key: torch.randn(value.shape, generator=generator) for key, value in network.state_dict().items()}
    state = {"step": torch.tensor(7), "half": torch.randn(3, generator=generator).half(), "none": torch.zeros(0, 4)}
    return {"a2b.safetensors": weights, "training.safetensors": state}


def write(folder: Path, seed: int = 0, **changes: Any) -> Path:
    write_model(folder, make_card(**changes), tensors_of(seed), {"state.json": {"seed": seed, "name": "Ü"}})
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def is_seed(folder: Path, seed: int) -> bool:
    verify(folder)
    return read_document(folder, "state.json")["seed"] == seed


# ----------------------------------------------------------------------------------------------------------- writing


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "new" / "folder" / "mödel 1")
    assert set(contents(folder)) == set(FILES)
    verify(folder)
    card = read_card(folder)
    assert card == make_card()
    assert card.domains_of("a2b") == (card.domains["a"], card.domains["b"])
    assert read_document(folder, "state.json") == {"seed": 0, "name": "Ü"}
    for name, written in tensors_of().items():
        read = read_tensors(folder, name)
        assert set(read) == set(written)
        for key, value in written.items():
            assert read[key].dtype == value.dtype
            assert torch.equal(read[key], value)
    assert [path.name for path in folder.parent.iterdir()] == ["mödel 1"]


def test_nothing_is_pickled(model: Path) -> None:
    for name, content in contents(model).items():
        if name.endswith(".json"):
            json.loads(content)
        else:
            header = int.from_bytes(content[:8], "little")
            json.loads(content[8 : 8 + header])


def test_tensors_of_every_layout_are_written(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(1, 2, 3, 4)
    state = {
        "transposed": base.transpose(2, 3),
        "channels_last": base.to(memory_format=torch.channels_last),
        "part": base[:, :, 1:, ::2],
        "parameter": torch.nn.Parameter(base.clone()),
    }
    write_model(tmp_path / "model", make_card(), {"a2b.safetensors": state})
    for key, value in read_tensors(tmp_path / "model", "a2b.safetensors").items():
        assert torch.equal(value, state[key]), key


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    weight = torch.rand(4)
    write_model(
        tmp_path / "model", make_card(), {"a2b.safetensors": {"one": weight, "two": weight, "part": weight[:2]}}
    )
    read = read_tensors(tmp_path / "model", "a2b.safetensors")
    assert torch.equal(read["one"], weight)
    assert torch.equal(read["two"], weight)
    assert torch.equal(read["part"], weight[:2])


def test_others_may_read_all_files_that_they_may_read_one_of(model: Path) -> None:
    assert len({(model / name).stat().st_mode for name in FILES}) == 1


def test_a_folder_is_replaced_as_a_whole(model: Path) -> None:
    write_model(model, make_card(), {"a2b.safetensors": {"weight": torch.ones(2)}})
    assert set(contents(model)) == {"a2b.safetensors", CARD, MANIFEST}
    verify(model)
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def failing(error: BaseException, after: int) -> Callable[..., Any]:
    calls = 0

    def fail(*_: Any, **__: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise error

    return fail


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
FULL_DISK = [
    pytest.param(
        "safetensors.torch.save_file",
        SafetensorError("I/O error: No space left on device (os error 28)"),
        0,
        id="weights",
    ),
    pytest.param("pathlib.Path.write_text", NO_SPACE, 0, id="first document"),
    pytest.param("pathlib.Path.write_text", NO_SPACE, 1, id="second document"),
    pytest.param("os.fsync", NO_SPACE, 2, id="flushing"),
    pytest.param("os.fsync", OSError(errno.EDQUOT, "Disk quota exceeded"), 0, id="quota"),
    pytest.param("pathlib.Path.mkdir", NO_SPACE, 1, id="folder"),
]


@pytest.mark.parametrize(("function", "error", "after"), FULL_DISK)
@pytest.mark.parametrize("before", [True, False])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception, after: int, before: bool
) -> None:
    folder = tmp_path / "000000100"
    if before:
        write(folder, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(function, failing(error, after))
        with pytest.raises(UserError, match=r"the disk is full.*000000100.*intact.*--out"):
            write(folder, seed=2)
    assert [path.name for path in tmp_path.iterdir()] == (["000000100"] if before else [])
    assert not before or is_seed(folder, 1)


def test_other_faults_of_the_disk_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*file.*model"):
        write(tmp_path / "file" / "model")
    monkeypatch.setattr(os, "fsync", failing(OSError(errno.EIO, "Input/output error"), 0))
    with pytest.raises(UserError, match="Input/output error"):
        write(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_fault_while_taking_the_place_keeps_the_old_folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def fail_second(self: Path, target: Path) -> Path:
        if ".writing-" in self.name:
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(UserError, match="Permission denied"):
        write(model, seed=2)
    assert is_seed(model, 0)


WRITER = """
import sys
from pathlib import Path
import torch
from unpaired.models.folder import ModelCard, write_model

card = ModelCard(origin="test", domains={}, translators={})
run, number = Path(sys.argv[1]), 0
state = {"weight": torch.zeros(200_000)}
while True:
    number += 1
    write_model(run / "checkpoints" / f"{number:09d}", card, {"weights.safetensors": state}, {"state.json": {}})
    print(number, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL")
def test_a_killed_process_leaves_whole_checkpoints_only(tmp_path: Path) -> None:
    for attempt in range(3):
        run = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", WRITER, run], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(3):
            number = int(process.stdout.readline())
        time.sleep(0.0017 * (attempt + 1))  # somewhere within the next one
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = checkpoints_of(run)
        assert int(found[0].name) >= number
        for folder in found:
            verify(folder)
        newest, messages = newest_checkpoint(run)
        assert (newest, messages) == (found[0], [])


# ----------------------------------------------------------------------------------------------------------- damage


def reading_everything(folder: Path) -> None:
    verify(folder)
    read_card(folder)
    for name in tensors_of():
        read_tensors(folder, name)


def test_an_intact_folder_is_not_called_damaged(model: Path) -> None:
    reading_everything(model)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(name=st.sampled_from(FILES), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(model: Path, name: str, where: float, bit: int) -> None:
    path = model / name
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(where * len(content))] ^= 1 << bit
    path.write_bytes(changed)
    try:
        if name == MANIFEST and same_json(content, bytes(changed)):
            verify(model)  # blank space and the like: nothing is lost
        else:
            with pytest.raises(DamagedError, match=name):
                verify(model)
    finally:
        path.write_bytes(content)


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(name=st.sampled_from(FILES), where=st.floats(0, 1, exclude_max=True))
def test_every_truncation_is_found(model: Path, name: str, where: float) -> None:
    path = model / name
    content = path.read_bytes()
    path.write_bytes(content[: int(where * (len(content) - 2))])
    with pytest.raises(DamagedError, match=name):
        verify(model)
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(DamagedError, match=name):
        verify(model)
    (model / name).mkdir()
    with pytest.raises(DamagedError, match=name):
        verify(model)


def test_damage_is_found_by_whoever_reads(model: Path) -> None:
    weights, card = model / "a2b.safetensors", model / CARD
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DamagedError, match=r"a2b\.safetensors has changed"):
        read_tensors(model, "a2b.safetensors")
    read_tensors(model, "training.safetensors")
    card.write_text(card.read_text().replace("cyclegan", "cyclegun"))
    with pytest.raises(DamagedError, match=r"model\.json has changed"):
        read_card(model)


# ---------------------------------------------------------------------------------------------------------- hostility


def seal(folder: Path) -> None:
    """Make the checksums right, as whoever forges a model would."""
    files = {p.name: checkpoint._fingerprint(p) for p in sorted(folder.iterdir()) if p.name != MANIFEST}
    seal_manifest(folder, files)


def seal_manifest(folder: Path, files: Any) -> None:
    manifest = {"files": files, "sha256": checkpoint._manifest_digest(files)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def forge_card(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(document | changes))
    seal(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "is not a model of unpaired"),
        ({"format_version": 2}, "newer version"),
        ({"surprise": 1}, "not a valid model description"),
        ({"domains": None}, "not a valid model description"),
        ({"domains": {"a": {"channels": 3, "dtype": "object"}}}, "not a valid model description"),
        ({"domains": {"a": {"channels": 3, "range": [0, "inf"]}}}, "not a valid model description"),
        ({"translators": {"a2b": {"network": {}, "weights": 3}}}, "not a valid model description"),
        ({"translators": {"a2b": {"network": [], "weights": "x"}}}, "not a valid model description"),
        ({"training_size": [1, 2, 3]}, "not a valid model description"),
        ({"images_seen": "many"}, "not a valid model description"),
    ],
)
def test_a_forged_card_is_refused(model: Path, changes: dict[str, Any], message: str) -> None:
    forge_card(model, **changes)
    with pytest.raises(UserError, match=message):
        read_card(model)


FORGED_CARDS = [
    pytest.param({"format_version": "two"}, id="version"),
    pytest.param({"format_version": None}, id="no version"),
    pytest.param({"domains": {"a": {"channels": 0}, "b": {"channels": 1}}}, id="no channels"),
    pytest.param({"domains": {"a": {"channels": 3, "range": [1, 1]}, "b": {"channels": 1}}}, id="empty range"),
]


@pytest.mark.parametrize("changes", FORGED_CARDS)
def test_impossible_values_are_refused(model: Path, changes: dict[str, Any]) -> None:
    forge_card(model, **changes)
    with pytest.raises(UserError):
        read_card(model)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "..", "", "sub/weights.safetensors", "x\0y", "missing"]
)
def test_weights_are_read_from_the_folder_only(model: Path, name: str) -> None:
    (model.parent / "secret.safetensors").write_bytes((model / "a2b.safetensors").read_bytes())
    with pytest.raises(DamagedError):
        read_tensors(model, name)


def test_a_manifest_may_not_name_files_outside(model: Path) -> None:
    secret = model.parent / "secret"
    secret.write_text("secret")
    files = json.loads((model / MANIFEST).read_text())["files"]
    seal_manifest(model, {**files, "../secret": checkpoint._fingerprint(secret)})
    with pytest.raises(DamagedError):
        verify(model)


@pytest.mark.parametrize(
    "files",
    [
        [],
        None,
        3,
        "x",
        {CARD: 3},
        {CARD: {}},
        {CARD: {"bytes": 3}},
        {CARD: None},
        [CARD],
        {"": {"bytes": 0, "sha256": ""}},
    ],
)
def test_a_forged_manifest_is_damage(model: Path, files: Any) -> None:
    seal_manifest(model, files)
    with pytest.raises(DamagedError):
        read_card(model)
    if files:
        with pytest.raises(DamagedError):
            verify(model)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "3", "{}", '{"files": {}}', "[" * 100_000, "\ufeff{}", '{"files": NaN}']
)
def test_a_manifest_of_any_text_is_damage(model: Path, text: str) -> None:
    (model / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(DamagedError):
        verify(model)


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "[" * 100_000, "\udcff"])
def test_a_card_of_any_text_is_damage(model: Path, text: str) -> None:
    (model / CARD).write_bytes(text.encode("utf-8", "surrogateescape"))
    seal(model)
    with pytest.raises(DamagedError):
        read_card(model)


HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04pickle", (1 << 60).to_bytes(8, "little"), len(HEADER).to_bytes(8, "little") + HEADER, b"\0" * 64],
    ids=["empty", "pickle", "huge header", "huge tensor", "zeros"],
)
def test_a_forged_weights_file_is_damage(model: Path, content: bytes) -> None:
    (model / "a2b.safetensors").write_bytes(content)
    seal(model)
    with pytest.raises(DamagedError):
        read_tensors(model, "a2b.safetensors")


# ------------------------------------------------------------------------------------------------------------ finding


def make_run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for images in (9_000_000_000, 100, 2000, 30):
        write(run / CHECKPOINTS / f"{images:09d}", seed=images % 1000)
    (run / CHECKPOINTS / ".000003000.writing-17").mkdir()
    (run / CHECKPOINTS / "notes").mkdir()
    (run / CHECKPOINTS / "²").mkdir()
    (run / CHECKPOINTS / "000000012").write_text("a file")
    (run / CHECKPOINTS / "2024").mkdir()  # somebody's own: never deleted with old checkpoints
    return run


def test_checkpoints_are_sorted_by_number(tmp_path: Path) -> None:
    names = [folder.name for folder in checkpoints_of(make_run(tmp_path))]
    assert names == ["9000000000", "000002000", "000000100", "000000030"]
    assert checkpoints_of(tmp_path) == []


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    folders = checkpoints_of(run)
    assert newest_checkpoint(run) == (folders[0], [])
    (folders[0] / "training.safetensors").unlink()
    (folders[1] / MANIFEST).write_text("")
    folder, messages = newest_checkpoint(run)
    assert folder == folders[2]
    assert len(messages) == 2
    assert "9000000000 is damaged: training.safetensors is missing. Using the checkpoint before it." in messages[0]
    assert find_model(run) == (folders[0], []), "a translator does not read the optimisers"
    (folders[0] / "a2b.safetensors").unlink()
    folder, messages = find_model(run)
    assert folder == folders[2]
    assert len(messages) == 2
    for damaged in folders[2:]:
        (damaged / CARD).unlink()
    with pytest.raises(UserError, match=r"a2b\.safetensors is missing.*has no usable checkpoint"):
        newest_checkpoint(run)


def with_best(run: Path, images: int) -> Path:
    shutil.copytree(checkpoint_folder(run, images), run / BEST)
    return run / BEST


def test_the_best_checkpoint_is_the_default(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    newest = checkpoints_of(run)[0]
    assert find_model(run) == find_model(run, "last") == (newest, [])
    with pytest.raises(UserError, match=r"checkpoint = best: .* has no best"):
        find_model(run, "best")
    best = with_best(run, 100)
    assert find_model(run) == find_model(run, "best") == (best, [])
    assert find_model(run, "last") == (newest, [])
    for number in (2000, "2000", "000002000"):
        assert find_model(run, number) == (checkpoint_folder(run, 2000), [])
    (best / "a2b.safetensors").write_bytes(b"")
    folder, messages = find_model(run)
    assert folder == newest
    assert "a2b.safetensors" in messages[0]


@pytest.mark.parametrize("wrong", ["newest", "-3", "17", "²"])
def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong) as caught:
        find_model(make_run(tmp_path), wrong)
    assert ("2000" if wrong == "17" else "last") in str(caught.value)


def test_of_a_single_model_no_checkpoint_can_be_chosen(model: Path) -> None:
    with pytest.raises(UserError, match="not a run"):
        find_model(model, "best")


def test_optimisers_are_not_read_for_a_translation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    read: list[str] = []
    original = checkpoint.open_regular

    def noted(path: Path, **options: Any) -> Any:
        read.append(path.name)
        return original(path, **options)

    with_best(run, 100)
    monkeypatch.setattr(checkpoint, "open_regular", noted)
    find_model(run)
    find_model(run, "last")
    assert {name for name in read if name.startswith(("training", "process"))} == set()
    assert {CARD, "a2b.safetensors"} <= {*read}


def test_a_model_is_found_by_its_folder_or_its_card(model: Path) -> None:
    for path in (model, str(model), model / CARD, model / MANIFEST):
        assert find_model(path) == (model, [])


def test_what_is_no_model_says_what_is(tmp_path: Path) -> None:
    (tmp_path / "latest_net_G.pth").write_bytes(b"x")
    (tmp_path / "photo.jpg").write_bytes(b"x")
    (tmp_path / "empty run" / CHECKPOINTS).mkdir(parents=True)
    for name, message in {
        "missing": "there is no model at",
        "latest_net_G.pth": "unpaired convert",
        "photo.jpg": "is a file. A model is a folder: a run, a checkpoint or a model folder.$",
        "": "holds neither model.json nor a checkpoints folder",
        "empty run": "has no usable checkpoint",
    }.items():
        with pytest.raises(UserError, match=message):
            find_model(tmp_path / name)


# ------------------------------------------------------------------------------------------------- files not trusted


HOSTILE = ["a FIFO", "a device", "a link to another place", "enormous"]


def _plant(path: Path, kind: str) -> None:
    """Put something else in the place of a file."""
    path.unlink()
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "enormous":
        with path.open("wb") as file:
            file.truncate(1 << 42)
    else:
        path.symlink_to("/dev/zero" if kind == "a device" else "/etc/passwd")


def test_hostile_files_are_refused_before_they_are_read(model: Path, tmp_path: Path) -> None:
    """In a process with little memory and time, since a mistake would take all of either."""
    folders = []
    for number, (kind, name) in enumerate(itertools.product(HOSTILE, (MANIFEST, CARD, "a2b.safetensors"))):
        folder = tmp_path / f"hostile {number}"
        shutil.copytree(model, folder)
        _plant(folder / name, kind)
        if kind == "enormous" and name != MANIFEST:  # also where the manifest agrees
            files = json.loads((folder / MANIFEST).read_text())["files"]
            seal_manifest(folder, {**files, name: {**files[name], "bytes": 1 << 42}})
        folders.append(str(folder))
    code = (
        "import resource, sys\n"
        "from unpaired.models.loading import load_generator\n"
        "resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))\n"
        "for folder in sys.argv[1:]:\n"
        "    try:\n        load_generator(folder)\n"
        "    except ValueError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *folders], timeout=60, capture_output=True, text=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == len(folders)
    assert all("is damaged" in line for line in done.stdout.splitlines()), done.stdout


def test_a_card_that_says_too_much_is_refused(model: Path) -> None:
    for length, words in ((5_000, "not a valid model description"), (50_000_000, "at most")):
        forge_card(model, origin="x" * length)
        with pytest.raises(UserError, match=words):
            read_card(model)


@pytest.mark.parametrize(("number", "words"), [(27, "File too large"), (28, "the disk is full"), (5, "cannot write")])
def test_what_safetensors_cannot_write_is_one_message_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(*_: object) -> None:
        raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(UserError, match=words):
        write_model(tmp_path / "model", make_card(), tensors_of(0))
    assert not list(tmp_path.iterdir())
