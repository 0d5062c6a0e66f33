"""How the translations of one part are written: as files, as a tar file (WebDataset), as a Parquet file."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, final

from unpaired.cluster.store import Store
from unpaired.data.streams.columns import arrow, image_column
from unpaired.data.streams.remote import StoredFile
from unpaired.data.streams.shards import TarShard, record_batches
from unpaired.models.pipeline import Job

_ROWS = 64
"""Of one row group of a new table."""


class Written(NamedTuple):
    """One output."""

    output: str
    bytes: int
    sha256: str


def written(job: Job, content: bytes) -> Written:
    """Return what describes the output of a job."""
    return Written(job.output.as_posix(), len(content), hashlib.sha256(content).hexdigest())


class Writer(ABC):
    """Takes the translations of a part in any order, from several threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.written: dict[int, Written] = {}
        """The outputs by the numbers of their images."""

    def write(self, job: Job, content: bytes) -> None:
        """Take a translation; raises `UserError` where it cannot be written."""
        self.keep(job, content)
        self.written[job.number] = written(job, content)

    @abstractmethod
    def keep(self, job: Job, content: bytes) -> None:
        """Write a translation, or keep it until the shard is written."""

    def finish(self, jobs: list[Job]) -> dict[str, Any] | None:
        """Write the shard, where there is one, and return what describes it: output, bytes, sha256."""
        return None

    def close(self) -> None:  # noqa: B027  # files have nothing to close
        """Delete what was kept."""


@final
class FileWriter(Writer):
    """Every translation is a file."""

    def keep(self, job: Job, content: bytes) -> None:
        self.store.put(job.output.as_posix(), content)


class ShardWriter(Writer):
    """Translations are kept in a temporary file until all are there, so that a shard has the order of its inputs."""

    suffix: str

    def __init__(self, store: Store, shard: str) -> None:
        super().__init__(store)
        self.shard = f"{shard}{self.suffix}"
        self._spool, self._lock = tempfile.TemporaryFile(prefix="unpaired-"), threading.Lock()  # noqa: SIM115
        self._places: dict[int, tuple[int, int]] = {}

    def keep(self, job: Job, content: bytes) -> None:
        with self._lock:
            self._spool.seek(0, io.SEEK_END)
            self._places[job.number] = (self._spool.tell(), len(content))
            self._spool.write(content)

    def kept(self, number: int) -> bytes | None:
        """Return the translation of an image; None where it failed."""
        if number not in self._places:
            return None
        start, length = self._places[number]
        self._spool.seek(start)
        return self._spool.read(length)

    def finish(self, jobs: list[Job]) -> dict[str, Any] | None:
        with self.store.writing(self.shard) as path:
            self.write_shard(path, jobs)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
        self.written = {
            number: each._replace(output=f"{self.shard}/{each.output}") for number, each in self.written.items()
        }
        return {"output": self.shard, "bytes": size, "sha256": digest}

    @abstractmethod
    def write_shard(self, path: Path, jobs: list[Job]) -> None:
        """Write the shard."""

    def close(self) -> None:
        self._spool.close()


@final
class TarWriter(ShardWriter):
    """A tar file as WebDataset reads it; equal contents give equal bytes."""

    suffix = ".tar"

    def __init__(self, store: Store, shard: str, source: TarShard | None) -> None:
        """What `source` holds beside its images is copied."""
        super().__init__(store, shard)
        self._source = source

    def write_shard(self, path: Path, jobs: list[Job]) -> None:
        others = self._others() if self._source else iter(())
        waiting = next(others, None)
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for job in (*jobs, None):
                while waiting is not None and (job is None or waiting[0] <= job.number):
                    _add(archive, waiting[1], waiting[2])
                    waiting = next(others, None)
                content = None if job is None else self.kept(job.number)
                if job is not None and content is not None:
                    _add(archive, job.output.as_posix(), content)

    def _others(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield the members that are no images: the number of the next image, name and content."""
        assert self._source is not None
        number = 0
        with self._source.file.open() as stream:
            for member in self._source.members():
                if number < len(self._source) and member.name == self._source.name(number):
                    number += 1
                else:
                    stream.seek(member.offset)
                    yield number, member.name, stream.read(member.size)


@final
class ParquetWriter(ShardWriter):
    """A Parquet file with a column of images as Hugging Face's `datasets` reads it."""

    suffix = ".parquet"

    def __init__(self, store: Store, shard: str, source: StoredFile | None, choice: str | None) -> None:
        """The other columns of `source`, a Parquet or Arrow file, are kept; `choice` is its column of images."""
        super().__init__(store, shard)
        self._source, self._choice = source, choice

    def write_shard(self, path: Path, jobs: list[Job]) -> None:
        if self._source is None:
            self._write(path, jobs, *_new_table(jobs), "image")
            return
        with record_batches(self._source) as (schema, batches):
            self._write(path, jobs, schema, batches, image_column(schema, self._choice, self._source.url)[0])

    def _write(self, path: Path, jobs: list[Job], schema: Any, batches: Iterator[Any], column: str) -> None:
        pa = arrow()
        place, number = schema.get_field_index(column), 0
        with pa.parquet.ParquetWriter(path, schema) as writer:
            for batch in batches:
                olds = batch.column(place).to_pylist()
                cells = [self._cell(old, job) for old, job in zip(olds, jobs[number : number + len(olds)], strict=True)]
                number += len(cells)
                writer.write_batch(
                    batch.set_column(place, schema.field(place), pa.array(cells, schema.field(place).type))
                )

    def _cell(self, old: Any, job: Job) -> Any:
        content = self.kept(job.number)
        if not isinstance(old, dict) or content is None:
            return content
        if "path" not in old:
            return {**old, "bytes": content}
        # A table holds UTF-8; names of files may be anything.
        name = job.output.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")
        return {**old, "bytes": content, "path": name}


def _new_table(jobs: list[Job]) -> tuple[Any, Iterator[Any]]:
    """Return the schema and the empty rows of a table of images alone."""
    pa = arrow()
    feature = b'{"info": {"features": {"image": {"_type": "Image"}}}}'
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema([pa.field("image", kind)], metadata={b"huggingface": feature})
    counts = (len(jobs[start : start + _ROWS]) for start in range(0, len(jobs), _ROWS))
    return schema, (
        pa.record_batch([pa.array([{"bytes": b"", "path": ""}] * count, kind)], schema=schema) for count in counts
    )


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
