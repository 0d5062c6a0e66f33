"""What a worker does: it loads the model once and translates part after part."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, final

from unpaired.cluster.manifest import Record, read_record, write_record
from unpaired.cluster.parts import Part, Sink
from unpaired.cluster.store import Store
from unpaired.cluster.writers import FileWriter, ParquetWriter, TarWriter, Writer, written
from unpaired.core.errors import UserError
from unpaired.core.extensions import allow_extensions
from unpaired.core.text import printable
from unpaired.data.bad_image import MAX_PIXELS
from unpaired.data.reading import Half
from unpaired.data.streams.remote import StoredFile
from unpaired.data.streams.shards import Objects, Shard, StoredImage, TarShard, open_shards
from unpaired.models.engines import EngineChoice, Precision
from unpaired.models.files import Existing
from unpaired.models.loading import Loaded
from unpaired.models.outputs import AUTO, Alpha, keeps_alpha, output_domain
from unpaired.models.pipeline import Failure, Job, LoadedImage, OutOfRange, Run, load_image
from unpaired.models.translator import Translator

SUSPICIOUS = 2
"""After so many workers ended in a part, its images are watched one by one."""
HOPELESS = 8
"""After so many workers ended in a part, it is given up."""
_EXAMPLES = 5
_DEEPEST = 100
"""Parts of the name of a shard's member; Python makes folders within folders recursively."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How a collection is translated; see `unpaired.models.files.translate_files`."""

    format: str = AUTO
    name: str = "{stem}"
    bit_depth: int | None = None
    alpha: Alpha | None = None
    half: Half | None = None
    out_of_range: OutOfRange = "clip"
    size: str | None = None
    detail: bool | None = None
    memory: str | None = None
    max_pixels: int = MAX_PIXELS
    existing: Existing = "fail"
    batch_size: int = 8
    device: str = "auto"
    engine: EngineChoice = "auto"
    precision: Precision = "auto"
    sink: Sink | None = None
    """What is written; None for what the source is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all workers get."""

    loaded: Loaded
    settings: BatchSettings
    store: Store
    images: int
    """How many images there are, roughly: it decides about engines that are slow to start."""
    extensions: Sequence[str] = ()
    threads: int = 1
    """Of each worker that decode, and as many that encode."""

    def translator(
        self, device: str, engine: EngineChoice | None = None, precision: Precision | None = None
    ) -> Translator:
        """Return the translator of the settings on a device."""
        settings, loaded = self.settings, self.loaded
        return Translator(
            loaded.network,
            loaded.card,
            loaded.direction,
            device=device,
            engine=engine or settings.engine,
            precision=precision or settings.precision,
            images=self.images,
            fine=True if settings.bit_depth in (16, 32) else None,
            fingerprint=loaded.fingerprint,
            folder=loaded.folder,
            size=settings.size,
            detail=settings.detail,
            memory=settings.memory,
        )


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a part, as the driver wants to know."""

    part: int
    images: int = 0
    written: int = 0
    skipped: int = 0
    failed: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)
    """Some of the inputs that failed, and why."""
    engine: str = ""
    notices: list[str] = field(default_factory=list)
    twice_as_wide: int = 0
    factors: list[float] = field(default_factory=list)
    fits: list[tuple[float, bool, float]] = field(default_factory=list)
    """How the values of images fit the model, see `unpaired.models.fit.Fit`."""
    refused: str = ""
    """The message of an error that ends the job."""
    traceback: str = ""
    """Of an error that no message was written for."""

    def dump(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


@final
class OpenPart:
    """The images of a part, and how their translations are written."""

    def __init__(self, part: Part, settings: BatchSettings, direction: str) -> None:
        """Raises `UserError` where a shard is damaged or cannot be reached."""
        self.part, self._settings = part, settings
        self.unusable: dict[int, str] = {}
        """Images whose names cannot be those of outputs, and why."""
        self._shards: Sequence[Shard] = []
        if part.kind == "files":
            files = [StoredFile(each.place, each.size, each.stamp) for each in part.inputs]
            objects = Objects("", files) if files[0].is_remote else None
            self.jobs = [
                Job(number, Path(each.place), Path(each.output), StoredImage(objects, number) if objects else None)
                for number, each in enumerate(part.inputs)
            ]
            return
        only = part.inputs[0]
        self._file = StoredFile(only.place, only.size, only.stamp)
        self._shards = open_shards([self._file], part.choice)
        images = [StoredImage(shard, index) for shard in self._shards for index in range(len(shard))]
        is_tar = only.place.lower().endswith(".tar")
        prefix, seen = Path(part.shard if settings.sink == "files" else ""), set[Path]()
        self.jobs = []
        for number, image in enumerate(images):
            name = PurePosixPath(image.shard.name(image.index) if is_tar else f"{number:08}")
            stem = settings.name.format(stem=name.stem, ext=name.suffix.removeprefix("."), direction=direction)
            output = Path(name.parent / f"{stem}.{settings.format}")
            if name.is_absolute() or ".." in name.parts:
                self.unusable[number] = "its name leads out of the folder"
            elif len(name.parts) > _DEEPEST:
                self.unusable[number] = f"it lies in more than {_DEEPEST} folders"
            elif output in seen:
                self.unusable[number] = f"another image of the shard is written as {printable(output)}"
            seen.add(output)
            self.jobs.append(Job(number, Path(name), prefix / output, image))

    def called(self, job: Job) -> str:
        """Return what messages and the manifest call an image."""
        known = self.part.inputs
        return known[job.number].id if self.part.kind == "files" else f"{known[0].id}/{job.source.as_posix()}"

    def writer(self, store: Store) -> Writer:
        """Return what writes the translations."""
        first = self._shards[0] if self._shards else None
        tar = first if isinstance(first, TarShard) else None
        match self._settings.sink:
            case "tar":
                return TarWriter(store, self.part.shard, tar)
            case "parquet":
                table = self._file if self.part.kind == "shard" and tar is None else None
                return ParquetWriter(store, self.part.shard, table, self.part.choice)
            case _:
                return FileWriter(store)


@final
class PartTranslator:
    """Translates parts with one translator."""

    def __init__(self, shared: Shared, translator: Translator, begin: Callable[[str, int], int]) -> None:
        """`begin(what, by)` counts how often something was begun and not ended, and returns that number."""
        self.shared, self.translator, self.begin = shared, translator, begin
        settings = shared.settings
        self.written_as = output_domain(translator.target, settings.format, settings.bit_depth)
        self.with_alpha = keeps_alpha(settings.alpha, translator, settings.format, self.written_as)
        self.notices = 0

    def translate(self, part: Part) -> Outcome:
        """Translate a part, unless another worker has finished it and was killed before it could say so."""
        attempts = self.begin(f"{part.number}", 1)
        record = read_record(self.shared.store, part.number) if attempts > 1 else None
        if record is not None and record.digest == part.digest:
            return outcome_of(record)
        try:
            opened = OpenPart(part, self.shared.settings, self.shared.loaded.direction)
        except UserError as error:  # a shard that is damaged, or cannot be reached
            return self._give_up(part, [part.inputs[0].id], str(error))
        if attempts > HOPELESS:
            inputs = [opened.called(job) for job in opened.jobs]
            return self._give_up(part, inputs, f"{attempts - 1} workers ended while it was translated")
        writer = opened.writer(self.shared.store)
        try:
            return self._translate(opened, writer, watched=attempts > SUSPICIOUS)
        finally:
            writer.close()

    def _translate(self, opened: OpenPart, writer: Writer, *, watched: bool) -> Outcome:
        part, jobs, settings = opened.part, opened.jobs, self.shared.settings
        skipped = self._skipped(jobs)

        def load(job: Job) -> LoadedImage | Failure:
            if job.number in opened.unusable:
                return Failure(job, opened.unusable[job.number])
            if watched and self.begin(f"{part.number}/{job.number}", 1) > SUSPICIOUS:
                return Failure(job, f"the worker ended each time it was decoded ({SUSPICIOUS} times)")
            found = load_image(
                job,
                self.translator,
                max_pixels=settings.max_pixels,
                half=settings.half,
                with_alpha=self.with_alpha,
                out_of_range=settings.out_of_range,
            )
            if watched:
                self.begin(f"{part.number}/{job.number}", -1)
            return found

        threads = 1 if watched else self.shared.threads  # one at a time, so that nobody is suspected with another
        run = Run(self.translator, self.written_as, settings.batch_size, threads, load, writer.write, lambda done: None)
        run.translate(job for job in jobs if job.number not in skipped)
        shard = writer.finish(jobs)
        failed = {failure.job.number: failure for failure in run.failed}
        entries = []
        for job in jobs:
            entry: dict[str, Any] = {"input": opened.called(job)}
            if part.kind == "files":
                entry |= {"size": part.inputs[job.number].size, "stamp": part.inputs[job.number].stamp}
            if job.number in failed:
                entry["error"] = failed[job.number].reason
            elif job.number not in skipped:
                entry |= writer.written[job.number]._asdict()
            elif (there := self.shared.store.read(job.output.as_posix())) is not None:
                entry |= written(job, there)._asdict()
            entries.append(entry)
        again = any(not failure.lasting for failure in run.failed)
        outcome = self._finish(part, entries, len(failed), shard=shard, again=again)
        outcome.skipped, outcome.written = len(skipped), run.written
        outcome.twice_as_wide, outcome.factors = run.twice_as_wide, run.factors
        outcome.fits = [(*fit,) for fit in run.fits]
        return outcome

    def _finish(
        self, part: Part, entries: list[dict[str, Any]], failed: int, *, shard: dict[str, Any] | None, again: bool
    ) -> Outcome:
        record = Record(
            part=part.number,
            digest=part.digest,
            images=len(entries),
            failed=failed,
            again=again,
            shard=shard,
            entries=entries,
        )
        write_record(self.shared.store, record)
        outcome = outcome_of(record)
        outcome.engine = self.translator.describe_engine()
        outcome.notices = self.translator.notices[self.notices :]
        self.notices = len(self.translator.notices)
        return outcome

    def _give_up(self, part: Part, inputs: list[str], reason: str) -> Outcome:
        entries = [{"input": each, "error": reason} for each in inputs]
        return self._finish(part, entries, len(entries), shard=None, again=True)

    def _skipped(self, jobs: list[Job]) -> set[int]:
        """Return the jobs whose outputs somebody else has written before, where those are to be left."""
        if self.shared.settings.existing != "skip" or self.shared.settings.sink != "files":
            return set()
        sizes = self.shared.store.sizes(job.output.as_posix() for job in jobs)
        return {job.number for job, size in zip(jobs, sizes, strict=True) if size is not None}


def outcome_of(record: Record) -> Outcome:
    """Return what became of a part that was finished before."""
    return Outcome(
        part=record.part,
        images=record.images,
        written=record.images - record.failed,
        failed=record.failed,
        examples=list(islice(record.errors(), _EXAMPLES)),
    )


@final
class Worker:
    """One process of the cluster; an actor of Ray Data."""

    def __init__(self, shared: Any, attempts: Any, device: str) -> None:
        """`shared` and `attempts` are references of Ray. Nothing is raised: Ray would try again for ever."""
        import ray

        self._parts: PartTranslator | None = None
        self._refused = self._traceback = ""
        try:
            found: Shared = ray.get(shared)
            allow_extensions(found.extensions)
            self._parts = PartTranslator(
                found, found.translator(device), lambda what, by: int(ray.get(attempts.count.remote(what, by)))
            )
        except UserError as error:
            self._refused = str(error)
        except Exception:
            self._traceback = traceback.format_exc()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Translate the part of a row; a row that says what became of it."""
        part = Part.load(row["part"])
        outcome = Outcome(part=part.number, refused=self._refused, traceback=self._traceback)
        if self._parts is not None:
            try:
                outcome = self._parts.translate(part)
            except UserError as error:
                outcome.refused = str(error)
            except Exception:
                outcome.traceback = traceback.format_exc()
        return {"outcome": outcome.dump()}
