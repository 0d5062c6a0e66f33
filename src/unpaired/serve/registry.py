"""The models of a service: loaded once, kept warm, and replaced when their run has a newer checkpoint."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from unpaired.core.errors import UserError
from unpaired.core.files import real_path
from unpaired.core.text import printable
from unpaired.data.directions import DIRECTIONS, heading, parse_direction
from unpaired.data.values import Domain
from unpaired.models.engines.choice import WORTH_MAKING
from unpaired.models.folder import BEST, MANIFEST, ModelCard, checkpoint_folder, checkpoints_of, find_model, read_card
from unpaired.models.loading import with_steps
from unpaired.models.named import is_model_name, model_path
from unpaired.models.translator import Translator
from unpaired.serve.batching import Batcher
from unpaired.serve.monitor import Monitor
from unpaired.serve.settings import ServeSettings
from unpaired.web.refused import Refused

LAST = "last"
MOST_LOADED = 8
"""Networks of one model that are kept, those of its directions and of checkpoints that were asked for."""


class Key(NamedTuple):
    """One network of a model."""

    direction: str
    checkpoint: str | None
    """`best`, `last` or a number of images; None for a model that is no run."""


@final
class ServedModel:
    """One model: what it can do, its networks that are loaded, and the queue of its images."""

    def __init__(
        self, name: str, path: Path, settings: ServeSettings, monitor: Monitor, loader: ThreadPoolExecutor
    ) -> None:
        """Read what the model says of itself; raises `UserError` where there is none."""
        self.name, self.path = name, path
        self.batcher = Batcher(name, settings.batch_size, settings.batch_window / 1000, monitor)
        self._settings, self._monitor, self._loader = settings, monitor, loader
        self._loaded: OrderedDict[Key, tuple[Translator, str]] = OrderedDict()
        self._loading: dict[Key, asyncio.Task[Translator]] = {}
        self._stamp, self._trouble = _stamp(path), ""
        self.card: ModelCard
        self.checkpoints: list[str]
        self._look()
        monitor.watch_queue(name, self.batcher.__len__)

    def _look(self) -> None:
        card = read_card(find_model(self.path)[0])
        for direction in card.translators:
            with_steps(card, direction, self._settings.steps, self._settings.seed)  # refuses what it cannot take
        self.card = card
        there = [str(int(folder.name)) for folder in checkpoints_of(self.path)]
        best = [BEST] if (self.path / BEST / MANIFEST).is_file() else []
        self.checkpoints = [*best, *([LAST] if there else []), *there]

    @property
    def ready(self) -> bool:
        """Whether every direction can translate at once."""
        return all(key in self._loaded for key in self._usual())

    def _usual(self) -> list[Key]:
        return [self.key(direction, None) for direction in DIRECTIONS if direction in self.card.translators]

    def key(self, direction: str | None, checkpoint: str | None) -> Key:
        """Return which network a request means; raises `Refused` where there is none."""
        there = [name for name in DIRECTIONS if name in self.card.translators]
        try:
            chosen = parse_direction(direction, self.card.domains) if direction else there[0]
        except UserError as error:
            raise Refused(422, "direction", str(error)) from error
        if chosen not in there:
            raise Refused(422, "direction", f"The model {self.name} translates {' and '.join(there)} only.")
        if not checkpoint:
            return Key(chosen, self.checkpoints[0] if self.checkpoints else None)
        number = checkpoint.isascii() and checkpoint.isdigit() and len(checkpoint) <= 20
        name = str(int(checkpoint)) if number else checkpoint
        if name not in self.checkpoints:
            listed = ", ".join(self.checkpoints) or "none, since it is no run"
            raise Refused(422, "checkpoint", f"The model {self.name} has no such checkpoint. There are: {listed}.")
        return Key(chosen, name)

    async def translator(self, key: Key) -> Translator:
        """Return a network, loaded if need be; raises `Refused` where that fails."""
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key][0]
        if key not in self._loading:
            self._loading[key] = asyncio.create_task(self._load(key))
            self._loading[key].add_done_callback(lambda task: self._end_loading(key, task))
        return await asyncio.shield(self._loading[key])  # others wait for it too

    def _end_loading(self, key: Key, task: asyncio.Task[Translator]) -> None:
        del self._loading[key]
        if not task.cancelled():
            task.exception()  # reported to whoever waited for it

    async def _load(self, key: Key) -> Translator:
        run = asyncio.get_running_loop().run_in_executor
        try:
            translator, identity = await run(self._loader, _open, self.path, key, self._settings)
        except (UserError, OSError, RuntimeError, MemoryError) as error:
            self._monitor.loaded(self.name, key.checkpoint or "", str(error))
            raise Refused(
                503, "model", f"The model {self.name} cannot be loaded at the moment.", retry_after=10
            ) from error
        self._monitor.loaded(self.name, translator.title)
        self._loaded[key] = translator, identity
        usual = self._usual()
        while len(self._loaded) > MOST_LOADED:
            del self._loaded[next(key for key in self._loaded if key not in usual)]
        return translator

    async def load_all(self) -> None:
        """Load every direction; what cannot be loaded is logged, and tried again when it is asked for."""
        for key in self._usual():
            with contextlib.suppress(Refused):
                await self.translator(key)

    async def refresh(self) -> None:
        """Replace networks whose checkpoint has changed; those that are there translate until the new ones can."""
        run = asyncio.get_running_loop().run_in_executor
        stamp = await run(self._loader, _stamp, self.path)
        if stamp == self._stamp:
            return
        try:
            await run(self._loader, self._look)
            for key in [key for key in (*self._loaded, *self._usual()) if not (key.checkpoint or "").isdigit()]:
                folder = await run(self._loader, _find, self.path, key.checkpoint)
                before = self._loaded.get(key)
                if before is None or before[1] != await run(self._loader, _identity, folder):
                    await self._load(key)
        except (UserError, OSError) as error:  # perhaps it is being written: the next look finds it whole
            if str(error) != self._trouble and not isinstance(error, Refused):
                self._monitor.loaded(self.name, "", str(error))
            self._trouble = str(error)
            return
        self._stamp, self._trouble = stamp, ""

    def describe(self) -> dict[str, Any]:
        """Return what a client may want to know."""
        directions = []
        for direction in (name for name in DIRECTIONS if name in self.card.translators):
            source, target = self.card.domains_of(direction)
            pictures = source.labels is None and target.labels is None
            views = {
                "translation": True,
                "reconstruction": len(self.card.translators) == 2,
                "difference": pictures and source.channels == target.channels,
                "hidden": target.labels is None,
            }
            directions.append(
                {
                    "direction": direction,
                    "heading": heading(direction, self.card.domains),
                    "source": _describe(source),
                    "target": _describe(target),
                    "views": [view for view, possible in views.items() if possible],
                }
            )
        title = f"{self.card.method or 'model'}, {self.card.images_seen:,} images" if self.card.images_seen else ""
        return {
            "name": self.name,
            "title": title or self.card.origin,
            "ready": self.ready,
            "directions": directions,
            "checkpoints": self.checkpoints,
        }


def _describe(domain: Domain) -> dict[str, Any]:
    return {
        "name": domain.name,
        "channels": domain.channels,
        "dtype": domain.dtype,
        "range": domain.range,
        "labels": domain.labels is not None,
    }


def _open(path: Path, key: Key, settings: ServeSettings) -> tuple[Translator, str]:
    """Load a network and let it translate once, which is slower than every other time."""
    folder = _find(path, key.checkpoint)
    identity = _identity(folder)
    translator = Translator.load(
        folder,
        key.direction,
        device=settings.device,
        engine=settings.engine,
        precision=settings.precision,
        images=WORTH_MAKING,
        steps=settings.steps,
        seed=settings.seed,
    )
    if translator.search is None:
        side = max(64, translator.network.minimum_size)
        translator.translate_values([np.zeros((side, side, translator.source.channels), np.float32)])
    return translator, identity


def _find(path: Path, checkpoint: str | None) -> Path:
    if checkpoint is not None and checkpoint.isdigit():
        return checkpoint_folder(path, int(checkpoint))
    return find_model(path, checkpoint)[0]


def _identity(folder: Path) -> str:
    return f"{folder} {hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}"


def _stamp(path: Path) -> tuple[Any, ...]:
    """Return what differs where a model or a run's checkpoints have changed, without reading them."""
    found: list[Any] = [folder.name for folder in checkpoints_of(path)]
    for manifest in (path / MANIFEST, path / BEST / MANIFEST):
        with contextlib.suppress(OSError):
            status = manifest.stat()
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


@final
class Registry:
    """All models of a service, by name."""

    def __init__(self, models: Sequence[str], settings: ServeSettings, monitor: Monitor) -> None:
        """Read what every model says of itself; raises `UserError` where one is none, or two have one name."""
        self._loader = ThreadPoolExecutor(1, "load")
        self.models: dict[str, ServedModel] = {}
        for text in models:
            name, path = _named(text)
            if name in self.models:
                raise UserError(
                    f'two models would be called "{printable(name)}". Give names of your own: NAME={printable(path)}.'
                )
            self.models[name] = ServedModel(name, path, settings, monitor, self._loader)

    @property
    def all(self) -> list[ServedModel]:
        """Every model, in the order of the command."""
        return [*self.models.values()]

    def find(self, name: str | None) -> ServedModel:
        """Return a model, the first one without a name; raises `Refused`."""
        found = next(iter(self.models.values())) if not name else self.models.get(name)
        if found is None:
            raise Refused(404, "model", f"There is no such model. Models: {', '.join(self.models)}.")
        return found

    def close(self) -> None:
        """End the threads."""
        self._loader.shutdown(wait=False, cancel_futures=True)
        for model in self.models.values():
            model.batcher.close()


def _named(text: str) -> tuple[str, Path]:
    """Read NAME=MODEL, or MODEL, which is then called as its folder is, or by the end of its own name."""
    name, sign, place = text.partition("=")
    if sign and name and place and not Path(text).exists():
        return name, model_path(place)
    name = text.rpartition("/")[2] if is_model_name(text) else real_path(text).name
    return name or "model", model_path(text)
