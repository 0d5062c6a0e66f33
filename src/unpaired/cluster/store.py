"""Where results go: a folder, or remote storage through fsspec; everything is there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, final

from unpaired.core.errors import UserError
from unpaired.core.files import atomic_file, clear_leftovers, locked, remove, write_atomic
from unpaired.core.settings import option
from unpaired.core.text import printable

T = TypeVar("T")

OWN = "_unpaired"
"""The folder in a sink that holds the manifest, the failures and the lock."""
_ONE_PUT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
"""Protocols of storage where an object appears when it is complete; elsewhere it is renamed."""
BEAT_SECONDS = 5.0
"""How often the lock of remote storage is renewed."""
_MISSED = 4
"""Beats after which a lock that did not change is taken for that of a process that was killed."""


class Store(ABC):
    """Files by relative names; safe to use from several threads and processes."""

    @abstractmethod
    def put(self, name: str, content: bytes, *, durable: bool = False) -> None:
        """Write a file, whole or not at all; raises `UserError`."""

    @abstractmethod
    def writing(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Yield a path on this machine; what the block writes there becomes the file when it ends well."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where there is none."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file or what lies below a folder, where it is there."""

    @abstractmethod
    def sizes(self, names: Iterator[str]) -> Iterator[int | None]:
        """Yield the bytes of files, None where there is none."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether nothing is there but what a killed process left behind, and our own folder."""

    @abstractmethod
    def lock(self) -> contextlib.AbstractContextManager[threading.Event]:
        """Hold the sink; raises `UserError` where another command does. The event says that the lock was lost."""

    @abstractmethod
    def tidy(self) -> None:
        """Delete what killed processes left half-written; call it under the lock."""


def open_store(out: str) -> Store:
    """Return the store at a path or URL."""
    if out.startswith(("file://", "local://")):
        out = "/" + out.partition("://")[2].lstrip("/")
    return RemoteStore(out) if "://" in out else LocalStore(Path(os.path.abspath(os.path.expanduser(out))))


@final
class LocalStore(Store):
    """A folder that every worker sees at the same path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, content: bytes, *, durable: bool = False) -> None:
        write_atomic(self.folder / name, content, durable=durable)

    def writing(self, name: str) -> contextlib.AbstractContextManager[Path]:
        return atomic_file(self.folder / name)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"cannot read {printable(self.folder / name)}: {error.strerror}.") from error

    def remove(self, name: str) -> None:
        remove(self.folder / name)

    def sizes(self, names: Iterator[str]) -> Iterator[int | None]:
        for name in names:
            try:
                yield os.stat(self.folder / name).st_size
            except OSError:
                yield None

    def is_empty(self) -> bool:
        return not self.folder.is_dir() or all(path.name == OWN for path in self.folder.iterdir())

    @contextlib.contextmanager
    def lock(self) -> Iterator[threading.Event]:
        with locked(self.folder / OWN):
            yield threading.Event()

    def tidy(self) -> None:
        for folder, _, _ in os.walk(self.folder):
            clear_leftovers(Path(folder))


@final
class RemoteStore(Store):
    """A prefix in remote storage. It is opened where it is used, so that it can be sent to a worker."""

    def __init__(self, url: str) -> None:
        from unpaired.data.streams.remote import open_fs

        self.url = url.rstrip("/")
        self._fs, self._root = open_fs(self.url)
        self._known: dict[str, int] | None = None

    def __reduce__(self) -> tuple[type[RemoteStore], tuple[str]]:
        return RemoteStore, (self.url,)

    def put(self, name: str, content: bytes, *, durable: bool = False) -> None:
        self._place(name, lambda path: self._fs.pipe_file(path, content))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="unpaired-") as folder:
            path = Path(folder) / Path(name).name
            yield path
            self._place(name, lambda to: self._fs.put_file(str(path), to))

    def read(self, name: str) -> bytes | None:
        content = self._ask("cannot read", name, lambda: self._fs.cat_file(f"{self._root}/{name}"))
        return None if content is None else bytes(content)

    def remove(self, name: str) -> None:
        self._ask("cannot delete", name, lambda: self._fs.rm(f"{self._root}/{name}", recursive=True))

    def sizes(self, names: Iterator[str]) -> Iterator[int | None]:
        if self._known is None:  # one listing in place of a question for every name
            self._fs.invalidate_cache()
            found = self._ask("cannot list", "", lambda: self._fs.find(self._root, detail=True)) or {}
            self._known = {path.removeprefix(f"{self._root}/"): info["size"] for path, info in found.items()}
        yield from map(self._known.get, names)

    def is_empty(self) -> bool:
        found = self._ask("cannot list", "", lambda: self._fs.ls(self._root, detail=False)) or []
        return all(path.rstrip("/").rpartition("/")[2] == OWN for path in found)

    @contextlib.contextmanager
    def lock(self) -> Iterator[threading.Event]:
        lock = _Beats(self)
        lock.take()
        thread = threading.Thread(target=lock.renew, name="lock", daemon=True)
        thread.start()
        try:
            yield lock.lost
        finally:
            lock.ended.set()
            thread.join()
            if not lock.lost.is_set():
                self.remove(_Beats.NAME)

    def tidy(self) -> None:
        """Nothing is left where objects appear when they are complete."""

    def _ask(self, what: str, name: str, work: Callable[[], T]) -> T | None:
        """Return what storage answers; None where there is no such object."""
        try:
            return work()
        except FileNotFoundError:
            return None
        except Exception as error:  # every kind of storage has errors of its own
            raise self._failed(what, name, error) from error

    def _place(self, name: str, put: Any) -> None:
        path = f"{self._root}/{name}"
        try:
            if self.url.partition("://")[0] in _ONE_PUT:
                put(path)
                return
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            temporary = f"{path}.writing-{uuid.uuid4().hex[:8]}"
            put(temporary)
            self._fs.mv(temporary, path)
        except Exception as error:
            raise self._failed("cannot write", name, error) from error

    def _failed(self, what: str, name: str, error: Exception) -> UserError:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return UserError(
            f"{what} {printable(f'{self.url}/{name}')}: {reason}. What was written before is whole; check the address, "
            "the credentials and the network, then run the same command again."
        )


@final
class _Beats:
    """A lock in remote storage: an object that its holder renews; one that does not change belongs to nobody."""

    NAME = f"{OWN}/lock"

    def __init__(self, store: RemoteStore) -> None:
        self.store, self.owner, self.beat = store, f"{socket.gethostname()} {uuid.uuid4().hex}", 0
        self.ended, self.lost = threading.Event(), threading.Event()

    def take(self) -> None:
        before = self.store.read(self.NAME)
        if before is not None:
            for _ in range(_MISSED):
                time.sleep(BEAT_SECONDS)
                if self.store.read(self.NAME) not in (before, None):
                    raise self._held(before)
        self._write()
        time.sleep(min(1.0, BEAT_SECONDS))  # of two who took it at the same moment, the one who wrote last has it
        found = self.store.read(self.NAME)
        if found is None or json.loads(found)["owner"] != self.owner:
            raise self._held(found or b'{"owner": "another process"}')

    def renew(self) -> None:
        while not self.ended.wait(BEAT_SECONDS):
            with contextlib.suppress(UserError, ValueError, KeyError):
                found = self.store.read(self.NAME)
                if found is not None and json.loads(found)["owner"] != self.owner:
                    self.lost.set()
                    return
                self._write()

    def _write(self) -> None:
        self.beat += 1
        self.store.put(self.NAME, json.dumps({"owner": self.owner, "beat": self.beat}).encode())

    def _held(self, content: bytes) -> UserError:
        host = str(json.loads(content).get("owner", "")).partition(" ")[0]
        return UserError(
            f"another command is writing to {option('out', printable(self.store.url))} (on {printable(host)}). Wait "
            "for it to end, or stop it first."
        )
