"""Wrong commands made of the commands' own options: each is one message with exit code 2, and nothing is written."""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from cyclopts.argument import Argument

from comparisons import write_places
from unpaired import cli
from unpaired.cli.app import app

UNDECODABLE = os.fsdecode(b"caf\xe9")
LONG = "x" * 5000
HOSTILE = "no\x1b[31msuch\u202ename\nerror: forged"
WRONG = {
    "INT": ("1.5", "0.5", "-1", "many", "1e3", "9" * 40, "nan", "inf", "true", ""),
    "SIZE": ("0", "-5", "1.5", "big", "10x", "x10", "1x2x3", "0x8", "99999999", "9" * 40, ""),
    "FLOAT": ("many", "nan", "inf", "-1e400", "[]"),
    "CHOICE": ("nonsense", "", "AUTO ", "1", HOSTILE),
    "PATH": (LONG, UNDECODABLE, HOSTILE, "a/" * 3000),
    "TEXT": (HOSTILE, UNDECODABLE, "a:b:c", "nowhere:Nothing", "\t"),
    "--set": (
        *("", "=", "a", "a=1", "data=1", "data.=1", "data.crop_size", "data.crop_size=1.5", "training.seed=1.5"),
        *("training.epochs=0.5", "training.epochs=true", "training.threads=100000", "training.batch_size=1000000000"),
        *("training.epochs=100000000000000000000000", "data.workers=1000000", "data.crop_size=10000000"),
        *("method.generator.width=1000000000", "data.range_a=[1,0]", "data.range_a=[0,0]", f"{'a.' * 2000}b=1"),
        *(f"training.betas={'[' * 2000}{']' * 2000}", f"{LONG}=1", f"{UNDECODABLE}=1", "training.learning_rate=nan"),
        *("training.max_images=1e30", "training.num_samples=1000000", "method.generator.blocks=100000"),
    ),
    "--config": (
        "list.json",
        "deep.json",
        "deep.toml",
        "number.json",
        "latin.toml",
        "digits.json",
        ".",
        LONG,
        UNDECODABLE,
    ),
}
FREE = {"--title", "--consent", "--name-a", "--name-b", "--behind-proxy", "--name"}
"""Take any text."""
WHOLE = {"--images", "--batch-size", "--seed", "--port", "--most"}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("places")
    found = write_places(root)
    for name, text in {
        "list.json": "[1, 2]",
        "number.json": "5",
        "deep.json": '{"data": ' * 2000 + "1" + "}" * 2000,
        "deep.toml": "x = " + "[" * 5000 + "]" * 5000,
        "latin.toml": "data.crop_size = 4",
        "digits.json": '{"training": {"seed": ' + "9" * 5000 + "}}",
    }.items():
        (root / name).write_text(text)
    (root / "latin.toml").write_bytes(b'[data]\nname_a = "caf\xe9"\n')
    return {"root": str(root), **found}


BASES = {
    "train": "train cyclegan --data {data} --out {out} --crop-size 16 --epochs 1 --device cpu",
    "plan": "plan --data {data} --out {out}.toml --set data.crop_size=16",
    "translate": "translate {model} {data}/testA --out {out} --device cpu",
    "evaluate": "evaluate {model} --data {data} --out {out} --device cpu",
    "report": "report {run} --out {out}.html",
    "compare": "compare {plan} --data {labelled} --out {out} --dry-run",
    "audit": "audit {model} --data {data} --out {out} --device cpu",
    "segment train": "segment train --data {labelled} --out {out} --size 32 --set data.labels_a.kind=index",
    "segment score": "segment score {model} --data {labelled} --device cpu",
    "serve": "serve {data}/nowhere",
    "study create": "study create --real {data}/testA --fake m={data}/testB --out {out}",
    "study serve": "study serve {data}",
    "study report": "study report {data} --out {out}",
    "export": "export {model} --out {out}.onnx",
    "convert": "convert {data}/testA/0.png --out {out}",
    "demo": "demo --out {data}",
    "download": "download horse2zebra --from {root}/digits.json --out {out}",
    "push": "push {data} user/name",
    "watch": "watch {data}/nowhere",
    "info": "info {data}/nowhere",
    "settings": "settings nowhere nothing",
}
"""A right command of each kind, or one that could not do any harm."""


def _arguments(name: str) -> Iterator[Argument]:
    command = app
    for part in name.split():
        command = command[part]
    yield from command.assemble_argument_collection()


def test_no_command_reads_whole_numbers_by_rounding() -> None:
    for name in BASES:
        for argument in _arguments(name):
            takes_int = argument.hint is int or int in get_args(argument.hint)
            assert not takes_int or argument.parameter.converter, f"{name} {argument.name}: use Whole"


def _wrong() -> Iterator[tuple[str, str, str]]:
    """Yield (command, option, wrong value)."""
    for name in BASES:
        seen: Counter[str] = Counter()
        for argument in _arguments(name):
            flag = next((each for each in argument.names if each.startswith("--")), None)
            if flag is None or flag in FREE or "bool" in str(argument.hint):
                continue
            shown = str(argument.hint)
            if flag in WRONG:
                kind = flag
            elif flag in WHOLE or "INT" in shown or "'int'" in shown:
                kind = "INT"
            elif "SIZE" in shown:
                kind = "SIZE"
            elif "Literal" in shown or "One of:" in (argument.parameter.help or ""):
                kind = "CHOICE"
            elif "PATH" in shown or "Path" in shown:
                kind = "PATH"
            else:
                kind = "TEXT"
            # Every option meets two of the values, and every command all of them.
            seen[kind] += 1
            values, share = WRONG[kind], 2 if seen[kind] > 1 or name != "train" else len(WRONG[kind])
            for number in range(share):
                yield name, flag, values[(seen[kind] * 2 + number) % len(values)]


CASES = list(_wrong())


def _state(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): f"{path.stat().st_mtime_ns} {path.stat().st_size}" for path in root.rglob("*")}


def _run(tokens: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(tokens)
    shown = capsys.readouterr()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, shown.out, shown.err


@pytest.mark.parametrize("command", BASES)
def test_a_wrong_value_is_one_message_and_nothing_is_written(
    command: str,
    places: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path(places["root"])
    monkeypatch.chdir(root)
    monkeypatch.setattr(
        sys.modules["unpaired.cli.app"], "_write_log", lambda error: "".join(traceback.format_exception(error)[-3:])
    )
    before = _state(root)
    faults = []
    for name, flag, value in CASES:
        if name != command:
            continue
        base = BASES[name].format(**places, out=tmp_path / "out").split(" ")
        if flag in base:
            del base[base.index(flag) : base.index(flag) + 2]

        code, _, error = _run([*base, f"{flag}={value}"], capsys)
        said = (code, error[:400])
        if code != 2 or error.count("error: ") - error.count("forged") != 1 or "Traceback" in error:
            faults.append((flag, value[:60], *said))
        elif "\x1b" in error or "\u202e" in error or "\nerror: forged" in error:
            faults.append((flag, value[:60], "raw", error))
        elif list(tmp_path.iterdir()) or _state(root) != before:
            faults.append((flag, value[:60], "written", [str(path) for path in tmp_path.rglob("*")]))
            before = _state(root)
            for path in tmp_path.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not faults, "\n".join(map(str, faults))


REFUSED = {
    "train cut --data {data} --out {out} --set method.name=cyclegan": "two methods",
    "train cyclegan --data {data} --out {out} --set data=1": "unknown setting. Settings are",
    "train cyclegan --data {data} --out {out} --seed 99999999999999999999": "below 9,223,372,036,854,775,808",
    "train cyclegan --data {data} --out {out} --crop-size 30000": "at most 16384",
    "train cyclegan --data {data} --out {out} --crop-size 18 --load-size 18": "set --crop-size to",
    "train cyclegan --data {data} --out {out} --device tpu": "--device tpu: cannot be used (not a device",
    "train cyclegan --data {data} --data {data} --out {out}": "--data is given twice",
    "train cyclegan --data caf\udce9 --out {out}": "--data: caf\\udce9 is not valid UTF-8",
    "train cyclegan --data {data} --out ~nobody-of-this-name/x/y --config loop": "--config loop",
    "translate {model} {root}/loop.png --out {out}": "there is no file or folder",
    "translate {model} {data}/testA --out {out} --size 99999999999": "at most 16,384",
    "translate {model} {data}/testA --out {out} --name {{stem}}\n": "--name {stem}\\n: it holds a control",
    "translate {model} {data}/testA --out {out} --batch-size 0": "--batch-size 0: allowed is a whole number from 1",
    "translate {model} {data}/testA --out {out} --batch-size 1000000000": "to 65,536",
    "translate {model} {data}/testA --out {out} --max-pixels 0": "--max-pixels 0: allowed",
    "translate {model} {data}/testA --out {out} --keep-metadata --format npy": "--keep-metadata: NumPy files hold none",
    "translate {model} {data}/testA --out {out} --keep-metadata --deidentify": "--keep-metadata: --deidentify",
    "translate {model} {data}/testA --out {out} --keep-metadata --cluster": "--keep-metadata: only without --cluster",
    "translate {model} {data}/testA --out {out} --crf 60": "--crf 60: allowed is a whole number from 0 (no loss) to 51",
    "translate {model} {data}/testA --out {out} --crf 16": "--crf 16: no input is a clip",
    "translate {model} {data}/testA --out {out} --smooth 1": "--smooth 1.0: allowed is a number from 0",
    "translate {model} {data}/testA --out {out} --smooth nan": "--smooth nan: allowed is a number from 0",
    "translate {model} {data}/testA --out {out} --smooth 0.8 --cluster": "--crf and --smooth are for clips",
    "translate {model} {data}/testA --out {out} --batch-size 1.5": "allowed: a whole number. See",
    "translate {model} {data}/testA --out {out} --cluster nowhere": "--cluster nowhere: allowed are local",
    "translate {model} {data}/testA --out {out} --cluster a b": "--cluster",
    "translate {model} {data}/testA --out {out} --cluster --device mps": "--device mps: on a cluster Ray gives",
    "translate {model} {data}/testA --out {out} --sink tar": "--sink tar: without --cluster files are written",
    "translate {model} s3://bucket/photos --out {out}": "Add --cluster",
    "translate {model} {data}/testA --out s3://bucket/out": "Add --cluster",
    "info {root}/fifo": "neither a regular file nor a folder",
}
"""Command -> what its message says."""


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_refused_is_named_as_it_was_typed(
    command: str,
    places: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path(places["root"])
    monkeypatch.chdir(root)
    for path in (root / "loop.png", root / "fifo"):
        path.unlink(missing_ok=True)
    (root / "loop.png").symlink_to("loop.png")
    os.mkfifo(root / "fifo")

    code, _, error = _run([part.format(**places, out=tmp_path / "out") for part in command.split(" ")], capsys)

    assert code == 2, error
    assert REFUSED[command] in error
    assert len(error) < 800
    assert not list(tmp_path.iterdir())


def test_a_link_to_itself_among_images_is_one_file_that_cannot_be_read(
    places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    shutil.copytree(Path(places["data"]) / "testA", images)
    (images / "loop.png").symlink_to("loop.png")
    (images / "fifo.png").symlink_to(tmp_path / "fifo")
    os.mkfifo(tmp_path / "fifo")
    tokens = ["translate", places["model"], str(images), "--out", str(tmp_path / "out"), "--device", "cpu"]
    code, _, error = _run(tokens, capsys)
    assert code == 1
    assert "loop.png" in error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in (Path(places["data"]) / "testA").iterdir()
    )
