"""The driver: what is missing is cut into parts, given to workers on a Ray cluster, and counted."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, cast

from unpaired.cluster.manifest import FAILURES, finished, open_job, write_failures
from unpaired.cluster.parts import Part, Source, cut, files_per_part, find_source
from unpaired.cluster.store import LocalStore, open_store
from unpaired.cluster.worker import BatchSettings, Outcome, PartTranslator, Shared, Worker, outcome_of
from unpaired.core.errors import UserError
from unpaired.core.extensions import allow_extensions
from unpaired.core.files import check_out
from unpaired.core.settings import option
from unpaired.core.text import printable
from unpaired.data.parallel import MAX_THREADS
from unpaired.models.engines.choice import WORTH_MAKING
from unpaired.models.files import check_numbers, whole_files_notice
from unpaired.models.fit import Fit, fit_notices
from unpaired.models.loading import Loaded, load_generator
from unpaired.models.outputs import AUTO, checked_name, default_format, rescaled_notice, stored_domain
from unpaired.models.sizing import Rescaled
from unpaired.models.translator import Translator

LOCAL = "local"
_ELSEWHERE = re.compile(r"auto|ray://[\w.-]+:\d{1,5}", re.ASCII)
_OBJECT_STORE = 256 * 2**20
"""Bytes of shared memory of the embedded cluster: the model and short messages travel through it, no images."""
_WORKERS_ELSEWHERE = 64
"""Workers that parts are cut for where the cluster is not known yet."""
_EXAMPLES = 20


@dataclass(slots=True, kw_only=True)
class BatchReport:
    """What became of a collection."""

    written: int = 0
    """Images translated and written by this command."""
    skipped: int = 0
    """Images whose outputs were there already."""
    failed: int = 0
    """Images that could not be read, translated or written, now or by an earlier command on the same sink."""
    examples: list[tuple[str, str]] = field(default_factory=list)
    """Some of the inputs that failed, and why; the table of failures has all."""
    failures: str | None = None
    """Where the table of failures is."""
    engine: str = ""
    """What computed: the engine of the first worker that finished a part."""
    notices: list[str] = field(default_factory=list)
    rescaled: Rescaled | None = None
    """Images that are clearly larger or smaller than in training, and what was done about it."""


def translate_on_cluster(
    model: str | Path,
    sources: Sequence[str] | str,
    out: str,
    settings: BatchSettings | None = None,
    *,
    address: str = LOCAL,
    direction: str | None = None,
    checkpoint: str | int | None = None,
    steps: int | None = None,
    seed: int | None = None,
    extensions: Sequence[str] = (),
    started: Callable[[Translator], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BatchReport:
    """Translate a collection on a Ray cluster; the same as `unpaired translate --cluster`.

    `address` is `local` (a cluster in this machine, which ends with the call), `auto` (the one that runs here) or
    `ray://host:port`. `sources` and `out` are folders, patterns or URLs; `steps`
    and `seed` as in `Translator.load`. Each output is written exactly once; the same
    call goes on where one was interrupted. `started` is called before the first image is translated, `progress` with
    how many images (of shards: shards) are done, and of how many.

    Raises `UserError` before anything is written where the sink holds something else, another command writes to it,
    nothing is found, or the model or Ray cannot be used; and when the disk is full.
    """
    settings = settings or BatchSettings()
    _check(settings, address)
    _require_ray()
    allow_extensions(extensions)
    sources = [sources] if isinstance(sources, str) else list(sources)
    loaded = load_generator(model, direction, checkpoint=checkpoint, steps=steps, seed=seed)
    settings, source = _settled(settings, sources, loaded)
    store = open_store(out)
    # Not how many are missing: a rerun is to choose the same engine.
    many = source.kind == "shard" or len(source.inputs) >= WORTH_MAKING
    shared = Shared(
        loaded=loaded, settings=settings, store=store, images=WORTH_MAKING if many else 1, extensions=extensions
    )
    translator = shared.translator("cpu", "torch", "fp32")
    PartTranslator(shared, translator, lambda what, by: 1)  # refuses formats
    if isinstance(store, LocalStore):
        check_out(store.folder, reads=[path for path in map(Path, sources) if path.is_dir()], replaces=())
    workers = cpus() if address == LOCAL else _WORKERS_ELSEWHERE
    with store.lock() as lost:
        per_part = files_per_part(len(source.inputs), workers, settings.batch_size, shards=settings.sink != "files")
        per_part = open_job(store, _remembered(shared), per_part, settings.existing)
        store.tidy()
        batch = _Batch(shared, source, per_part, progress)
        if batch.missing:
            if started is not None:
                started(translator)
            batch.run(address, lost.is_set)
            store.tidy()
        write_failures(store, sorted(batch.with_failures))
    return batch.finish(translator, f"{out.rstrip('/')}/{FAILURES}")


class _Batch:
    """The parts of a job that are missing, and what became of them."""

    def __init__(
        self,
        shared: Shared,
        source: Source,
        per_part: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.shared, self.report = shared, BatchReport()
        self.with_failures: set[int] = set()
        self.twice_as_wide, self.factors = 0, Counter[float]()
        self.fits: list[Fit] = []
        self.missing: list[Part] = []
        self._progress, self._files = progress, source.kind == "files"
        self._done, self._total = 0, len(source.inputs)
        for part, record in finished(shared.store, cut(source, per_part)):
            if record is None:
                self.missing.append(part)
            else:
                done = outcome_of(record)
                self._count(replace(done, written=0, skipped=done.written))

    def run(self, address: str, is_lost: Callable[[], bool]) -> None:
        """Translate what is missing on a cluster."""
        with connected(address):
            outcomes = _outcomes_elsewhere if address.startswith("ray://") else _outcomes
            for outcome in outcomes(self.missing, self.shared):
                if outcome.refused:
                    raise UserError(outcome.refused)
                if outcome.traceback:
                    raise RuntimeError(f"a worker failed:\n{outcome.traceback}")
                if is_lost():
                    raise UserError(
                        f"another command has taken {option('out')}: this one could not renew its lock in time. What "
                        "was written is whole."
                    )
                self._count(outcome)

    def finish(self, translator: Translator, failures: str) -> BatchReport:
        """Return what became of all parts; `failures` is where those are listed."""
        report, target, settings = self.report, translator.target, self.shared.settings
        report.notices = [
            *whole_files_notice(translator, settings.half, self.twice_as_wide),
            *rescaled_notice(target, stored_domain(target, settings.bit_depth)),
            *fit_notices(self.fits, translator.source, by_pixels=translator.sizing.by_pixels),
            *report.notices,
        ]
        report.rescaled = translator.sizing.rescaled(list(self.factors.elements()))
        report.failures = failures if report.failed else None
        return report

    def _count(self, outcome: Outcome) -> None:
        report = self.report
        report.written += outcome.written
        report.skipped += outcome.skipped
        report.failed += outcome.failed
        report.engine = report.engine or outcome.engine
        report.examples += outcome.examples[: _EXAMPLES - len(report.examples)]
        if outcome.failed:
            self.with_failures.add(outcome.part)
        report.notices += [notice for notice in outcome.notices if notice not in report.notices]
        self.twice_as_wide += outcome.twice_as_wide
        self.fits += [Fit(*fit) for fit in outcome.fits]
        self.factors.update(float(f"{factor:.3g}") for factor in outcome.factors)
        self._done += outcome.images if self._files else 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _check(settings: BatchSettings, address: str) -> None:
    if address != LOCAL and not _ELSEWHERE.fullmatch(address):
        raise UserError(
            f"{option('cluster', printable(address))}: allowed are local (a cluster in this machine, also without a "
            "value), auto (the cluster that runs here) and ray://HOST:PORT, such as ray://head:10001."
        )
    if settings.device not in ("auto", "cpu", "cuda"):
        raise UserError(
            f"{option('device', settings.device)}: on a cluster Ray gives every worker its GPU; allowed are auto (GPUs "
            "where there are any), cpu and cuda."
        )
    check_numbers(batch_size=(settings.batch_size, 1, 65_536), max_pixels=(settings.max_pixels, 1, 2**40))


def _settled(settings: BatchSettings, sources: Sequence[str], loaded: Loaded) -> tuple[BatchSettings, Source]:
    """Return the settings with the format and the sink that are written, and what is found in the sources."""
    format = settings.format.lower().removeprefix(".")
    if format == AUTO:
        target = loaded.card.domains_of(loaded.direction)[1]
        format = default_format(stored_domain(target, settings.bit_depth))
    source = find_source(sources, suffix=f".{format}", name=checked_name(settings.name), direction=loaded.direction)
    settings = replace(settings, format=format, sink=settings.sink or source.natural_sink)
    if settings.existing == "skip" and settings.sink != "files":
        raise UserError(
            f"{option('existing', 'skip')}: shards of others are not left in place. Leave it out to go on with a job, "
            f"or choose another {option('out')}."
        )
    return settings, source


def _remembered(shared: Shared) -> dict[str, Any]:
    """Return the settings that another result would follow from."""
    settings = asdict(shared.settings)
    del settings["existing"]
    return {"model": shared.loaded.fingerprint, "direction": shared.loaded.direction, **settings}


# ------------------------------------------------------------------------------------------------------------------ Ray


def _require_ray() -> None:
    try:
        import pyarrow
        import ray.data
    except ModuleNotFoundError as error:
        raise UserError(
            f'{option("cluster")} needs Ray ({error.name} is missing). Install it: pip install "unpaired[ray]".'
        ) from error
    del pyarrow, ray


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster, or start one in this machine; a connection that is there already is used and kept."""
    import ray

    if ray.is_initialized():
        yield
        return
    # Workers see the GPUs that Ray gives them; without one Ray would warn that this will change.
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_BACKEND_LOG_LEVEL": "fatal",
    }.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            folder = tempfile.mkdtemp(prefix="unpaired-ray-")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            # One CPU more than there is: workers take all that there are, and Ray waits for ever without a free one.
            options |= {
                "num_cpus": cpus() + 1,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE,
                "_temp_dir": folder,
            }
        else:
            options["address"] = address
        try:
            with _without_stderr():
                ray.init(**options)
        except Exception as error:  # Ray raises many kinds
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            where = "start a cluster" if address == LOCAL else f"reach {option('cluster', printable(address))}"
            raise UserError(
                f"cannot {where}: {reason}. Start one with `ray start --head`, or use {option('cluster', LOCAL)}; a "
                "cluster elsewhere may want its token (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN)."
            ) from error
        stack.callback(ray.shutdown)
        if threading.current_thread() is threading.main_thread():
            # Ray's own handler prints a trace; the default one would leave the cluster behind for a minute.
            stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _end))
        yield


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def cpus() -> int:
    """Return how many CPUs this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows cannot tell
        return os.cpu_count() or 1


def _outcomes(parts: Sequence[Part], shared: Shared) -> Iterator[Outcome]:
    """Let workers translate parts, and yield what became of them as they finish."""
    import ray.data

    _keep_quiet()
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free, gpus = int(resources.get("CPU", 0)) - 1, int(resources.get("GPU", 0))  # one CPU for Ray itself
    device = shared.settings.device
    if device == "cuda" and not gpus:
        raise UserError(f"{option('device', 'cuda')}: the cluster has no GPUs. Use {option('device', 'cpu')}.")
    if free < 1:
        raise UserError("the cluster has fewer than two CPUs; one for a worker and one for Ray itself are needed.")
    with_gpu = gpus > 0 and device != "cpu"
    workers = min(gpus if with_gpu else free, free, len(parts))
    each = free // workers if with_gpu else 1
    reference = ray.put(replace(shared, threads=min(each, MAX_THREADS)))
    attempts = ray.remote(_Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    rows = ray.data.from_items([{"part": part.dump()} for part in parts], override_num_blocks=len(parts)).map(
        cast("Any", Worker),
        fn_constructor_args=(reference, attempts, "cuda" if with_gpu else "cpu"),
        num_cpus=each,
        num_gpus=1 if with_gpu else None,
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
    )
    try:
        for row in rows.iter_rows():
            yield Outcome(**json.loads(row["outcome"]))
    except ray.exceptions.RayError as error:
        raise _cluster_failed(error) from error


def _outcomes_elsewhere(parts: Sequence[Part], shared: Shared) -> Iterator[Outcome]:
    """Do what `_outcomes` does in a process of the cluster: Ray Data does not run in one that is connected to it."""
    import ray

    driver: Any = ray.remote(_Driver).options(num_cpus=0).remote(parts, shared)
    outcome: Outcome | None
    try:
        while (outcome := cast("Any", ray.get(driver.next.remote()))) is not None:
            yield outcome
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise _cluster_failed(error) from error


class _Driver:
    """Keeps the outcomes for a process that asks for one after the other."""

    def __init__(self, parts: Sequence[Part], shared: Shared) -> None:
        self._outcomes = _outcomes(parts, shared)

    def next(self) -> Outcome | None:
        try:
            return next(self._outcomes, None)
        except UserError as error:
            return Outcome(part=-1, refused=str(error))


def _cluster_failed(error: Exception) -> UserError:
    reason = (str(error).splitlines() or [""])[0][:300]
    return UserError(
        f"the cluster failed: {type(error).__name__}: {reason}. What was written is whole, and the same "
        "command goes on."
    )


class _Attempts:
    """Counts how often something was begun and not ended, for workers that may be killed at any time."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, what: str, by: int) -> int:
        self._counts[what] += by
        return self._counts[what]


def _keep_quiet() -> None:
    """Keep Ray's log and progress bars off the terminal; its log files stay in the folder of its session."""
    import ray._private.worker
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    vars(ray._private.worker)["_worker_logs_enabled"] = False  # killed workers would be reported on stdout
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a large shard may take hours


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what Ray's C++ code writes to the process's stderr while it starts."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
