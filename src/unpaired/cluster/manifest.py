"""What a sink remembers of a job: its settings, and of each finished part the inputs, outputs and checksums."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from unpaired.cluster.parts import Part
from unpaired.cluster.store import OWN, Store
from unpaired.core.errors import UserError
from unpaired.core.files import parse_json
from unpaired.core.settings import option
from unpaired.core.text import csv_text, listing

JOB = f"{OWN}/job.json"
MANIFEST = f"{OWN}/manifest"
FAILURES = f"{OWN}/failures.csv"
_VERSION = 1
_AT_ONCE = 16
"""Parts of the manifest that are read together, since remote storage takes a while to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One finished part: a file of JSON lines, the first of which describes the part."""

    part: int
    digest: str
    """Of the inputs, see `Part.digest`."""
    images: int
    failed: int
    again: bool = False
    """Whether something failed that may succeed another time, so that a rerun takes this part again."""
    shard: dict[str, Any] | None = None
    """The shard that was written: output, bytes, sha256."""
    entries: list[dict[str, Any]] = field(default_factory=list)
    """Of each image: input, size, stamp, and output, bytes, sha256 or error."""

    def outputs(self) -> Iterator[tuple[str, int]]:
        """Yield the names and sizes of the files that were written."""
        for each in [self.shard] if self.shard else self.entries:
            if "output" in each:
                yield each["output"], each["bytes"]

    def errors(self) -> Iterator[tuple[str, str]]:
        """Yield the inputs that failed, and why."""
        yield from ((each["input"], each["error"]) for each in self.entries if "error" in each)


def write_record(store: Store, record: Record) -> None:
    """Write what became of a part; call it when its outputs are there."""
    head = {name: value for name, value in asdict(record).items() if name != "entries"}
    lines = [json.dumps(each) for each in (head, *record.entries)]
    store.put(_name(record.part), "".join(f"{line}\n" for line in lines).encode(), durable=True)


def read_record(store: Store, part: int) -> Record | None:
    """Return what became of a part; None where that is not known."""
    content = store.read(_name(part))
    if content is None:
        return None
    try:
        head, *entries = [parse_json(line.encode()) for line in content.decode().splitlines()]
        return Record(**head, entries=entries)
    except (ValueError, TypeError, AttributeError):
        return None  # damaged: the part is done again


def read_records(store: Store, parts: Iterable[int]) -> Iterator[Record | None]:
    """Yield the records of parts in their order."""
    with ThreadPoolExecutor(_AT_ONCE, "manifest") as pool:
        waiting = []
        for part in parts:
            waiting.append(pool.submit(read_record, store, part))
            if len(waiting) >= _AT_ONCE:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()


def finished(store: Store, parts: Iterable[Part]) -> Iterator[tuple[Part, Record | None]]:
    """Yield parts with their records; None where a part is to be done: new, changed, or its outputs are not there."""
    listed = list(parts)
    for part, record in zip(listed, read_records(store, (part.number for part in listed)), strict=True):
        whole = record is not None and record.digest == part.digest and not record.again
        if whole and record is not None:
            names, sizes = zip(*record.outputs(), strict=True) if record.images > record.failed else ((), ())
            whole = tuple(store.sizes(iter(names))) == sizes
        yield part, record if whole else None


def open_job(
    store: Store, settings: dict[str, Any], files_per_part: int, existing: Literal["fail", "skip", "overwrite"]
) -> int:
    """Begin a job in a sink or go on with one, and return how many files its parts have; call it under the lock.

    Raises `UserError` where the sink holds something else: translations with other settings, or other files.
    """
    content = store.read(JOB)
    if content is not None and existing != "overwrite":
        try:
            job = parse_json(content)
            known, files_per_part = dict(job["settings"]), int(job["files_per_part"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{JOB} in {option('out')} is damaged. Choose another {option('out')}.") from error
        changed = [name for name in settings if settings[name] != known.get(name)]
        if changed:
            raise UserError(
                f"{option('out')} holds translations with other settings ({listing(sorted(changed))}). Nothing was "
                f"translated. Choose another {option('out')}, or {option('existing', 'overwrite')} to replace them."
            )
        return files_per_part
    if content is None and existing == "fail" and not store.is_empty():
        raise UserError(
            f"{option('out')} is not empty, and what is there was not written by this command. Nothing was "
            f"translated. Choose another {option('out')}, {option('existing', 'skip')} to leave what is there, or "
            f"{option('existing', 'overwrite')} to replace it."
        )
    store.remove(MANIFEST)
    store.remove(FAILURES)
    job = {"format": "unpaired-batch", "version": _VERSION, "files_per_part": files_per_part, "settings": settings}
    store.put(JOB, json.dumps(job, indent=1).encode(), durable=True)
    return files_per_part


def write_failures(store: Store, parts: Iterable[int]) -> None:
    """Write the table of inputs that failed, of these parts; without any there is none."""
    rows = [row for record in read_records(store, parts) if record for row in record.errors()]
    if rows:
        store.put(FAILURES, csv_text([("input", "reason"), *rows]).encode("utf-8", "backslashreplace"))
    else:
        store.remove(FAILURES)


def _name(part: int) -> str:
    return f"{MANIFEST}/{part:06}.jsonl"
