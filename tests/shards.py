"""Shards of the images of a folder, as other programs write them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def in_order(folder: Path) -> list[Path]:
    """Return the images of a folder in the order in which they are trained on."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def split(files: Sequence[Path], count: int) -> list[Sequence[Path]]:
    """Divide files into so many parts, in order."""
    return [files[len(files) * part // count : len(files) * (part + 1) // count] for part in range(count)]


def write_tars(folder: Path, out: Path, count: int = 2, *, name: str = "part") -> str:
    """Write a folder's images as tar files with a text file beside each image; return the pattern of all."""
    out.mkdir(parents=True, exist_ok=True)
    for number, files in enumerate(split(in_order(folder), count)):
        with tarfile.open(out / f"{name}-{number:03}.tar", "w") as archive:
            for path in files:
                add(archive, path.name, path.read_bytes())
                add(archive, f"{path.stem}.json", b"{}")
    return f"{out}/{name}-{{000..{count - 1:03}}}.tar"


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add one member."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def records(files: Sequence[Path]) -> Any:
    """Return images as a column of records {bytes, path}, as Hugging Face's `datasets` stores them."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": path.read_bytes(), "path": path.name} for path in files], kind)


def write_parquet(folder: Path, out: Path, *, rows: int = 3, column: str = "image") -> Path:
    """Write a folder's images as one Parquet file of several row groups."""
    out.parent.mkdir(parents=True, exist_ok=True)
    files = in_order(folder)
    table = pa.table({"label": list(range(len(files))), column: records(files)})
    pq.write_table(table, out, row_group_size=rows)
    return out
