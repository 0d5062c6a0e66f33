"""Commands and functions in processes of their own, forked from one that has imported everything they need.

They are as real as any: signals, exit codes, file descriptors and the working folder are theirs alone. Only the two
seconds in which Python would import PyTorch are saved; what happens in these is left to tests that start Python.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.reduction
import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        *("unpaired.cli", "unpaired.plan.start", "unpaired.evaluation.start", "unpaired.audit.audit"),
        *("unpaired.models.files", "unpaired.report.run_report"),
    ]
)


class _Descriptor:
    """A file descriptor that goes along to the process that is started."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[..., _Descriptor], tuple[Any]]:
        return _received, (multiprocessing.reduction.DupFd(self.number),)


def _received(duplicate: Any) -> _Descriptor:
    return _Descriptor(duplicate.detach())


class Started:
    """A process that runs a function with what it prints in files; as `subprocess.Popen` has it."""

    def __init__(
        self,
        function: Callable[..., Any],
        *given: Any,
        cwd: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  # closed when all is read
        weakref.finalize(self, lambda streams: [stream.close() for stream in streams], self._streams)
        streams = [_Descriptor(stream.fileno()) for stream in self._streams]
        variables = {**os.environ, **(environment or {})}
        self._process = _context.Process(
            target=_begin, args=(streams, str(cwd or Path.cwd()), variables, function, given)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it has not ended"
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end and return what was printed."""
        self.wait(timeout)
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read().decode("utf-8"))
            stream.close()
        return texts[0], texts[1]


def start(
    *tokens: str | Path,
    cwd: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], object] | None = None,
) -> Started:
    """Start the command line; `prepare` is called in its process before it begins."""
    return Started(_command_line, [str(token) for token in tokens], prepare, cwd=cwd, environment=environment)


def unpaired(
    *tokens: str | Path,
    check: int | None = 0,
    cwd: str | Path | None = None,
    prepare: Callable[[], object] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    started = start(*tokens, cwd=cwd, prepare=prepare)
    out, error = started.communicate()
    code = started.wait()
    if check is not None:
        assert code == check, f"exit code {code}\n{out}\n{error}"
    return subprocess.CompletedProcess([*map(str, tokens)], code, out, error)


def start_together(*tokens: str | Path, processes: int = 2) -> list[Started]:
    """Start the command line in several processes as torchrun arranges them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in map(str, range(processes)):
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        started.append(start(*tokens, environment={**own, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}))
    return started


def together(*tokens: str | Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Run the command line in several processes; the code is that of the first to fail."""
    started = start_together(*tokens, processes=processes)
    printed = [each.communicate() for each in started]
    code = next(filter(None, (each.wait() for each in started)), 0)
    out, error = ("".join(texts) for texts in zip(*printed, strict=True))
    return subprocess.CompletedProcess([*map(str, tokens)], code, out, error)


class Asked(Started):
    """A process that returns the result of a function."""

    def __init__(self, function: Callable[..., Any], **given: Any) -> None:
        self._reader, writer = _context.Pipe(duplex=False)
        super().__init__(_answering, writer, function, given)
        writer.close()

    def answer(self) -> Any:
        """Wait for the end and return the result; None where the process was killed."""
        try:
            found = self._reader.recv()
        except EOFError:
            found = None
        code = self.wait()
        _, error = self.communicate()
        assert code in (0, -signal.SIGKILL), error
        return found


# ------------------------------------------------------------------------------------------------- in the new process


def _begin(
    streams: list[_Descriptor],
    cwd: str,
    environment: Mapping[str, str],
    function: Callable[..., Any],
    given: tuple[Any],
) -> None:
    for number, stream in enumerate(streams, 1):
        os.dup2(stream.number, number)
        os.close(stream.number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[:] = [os.getcwd(), *(path for path in sys.path if path)]  # as for python -m
    signal.signal(signal.SIGINT, signal.default_int_handler)
    function(*given)


def _command_line(tokens: list[str], prepare: Callable[[], object] | None) -> None:
    from unpaired.__main__ import main

    if prepare is not None:
        prepare()
    sys.argv = ["unpaired", *tokens]
    main()


def _answering(
    writer: multiprocessing.connection.Connection, function: Callable[..., Any], given: Mapping[str, Any]
) -> None:
    writer.send(function(**given))
    writer.close()
