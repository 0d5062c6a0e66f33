"""The sets of images of one direction, compared as sets: translations, real images, untranslated inputs."""

from __future__ import annotations

from typing import final

from unpaired.data.values import Domain
from unpaired.evaluation.dataset import Task
from unpaired.evaluation.distribution import Wanted, distances
from unpaired.evaluation.figures import Figure, Protocol
from unpaired.evaluation.statistics import Gathering, reference_statistics, through
from unpaired.evaluation.translations import Batch, Told, at_size


@final
class Sets:
    """Gathers translations and untranslated inputs, and compares both with the real images."""

    def __init__(
        self,
        task: Task,
        domains: tuple[Domain | None, Domain],
        wanted: Wanted,
        *,
        seed: int,
        bounds: bool,
        batch_size: int,
        told: Told | None = None,
    ) -> None:
        """Take the statistics of the real images, from the cache where they are there.

        `domains` are those of inputs and translations; `bounds` asks for the untranslated inputs and for two halves of
        the real images too.
        """
        self._task, self._domains, self._wanted, self._seed = task, domains, wanted, seed
        self._made = self._gathering()
        self._plain = self._gathering() if bounds and _comparable(*domains) else None
        self.reference = reference_statistics(
            task.real,
            task.size,
            sliced=wanted.sliced,
            lenses=wanted.used,
            seed=seed,
            halves=bounds,
            batch_size=batch_size,
            told=told,
        )

    def add(self, batch: Batch) -> None:
        """Add translations and their inputs, at the size at which sets are compared."""
        size, lenses = self._task.size, self._wanted.used
        source, target = self._domains
        images = batch.made
        if (images.shape[-2], images.shape[-1]) != size:
            images = at_size(batch.images, target, size)
        self._made.add(images, through(lenses, images))
        if self._plain is None or batch.inputs is None or batch.input_images is None or source is None:
            return
        images = batch.inputs
        if (images.shape[-2], images.shape[-1]) != size:
            images = at_size(batch.input_images, source, size)
        if images.shape[1] != target.channels:
            images = images.expand(-1, target.channels, -1, -1)
        self._plain.add(images, through(lenses, images))

    def results(self, protocol: Protocol) -> tuple[list[Figure], dict[str, list[Figure]], list[str]]:
        """Return the figures of the translations, those of the bounds by what these are, and warnings."""
        real = self.reference.whole
        figures, warnings = distances(real, self._made.statistics(), self._wanted, seed=self._seed, protocol=protocol)
        bounds = dict[str, list[Figure]]()
        if self._plain is not None:
            bounds["untranslated"], _ = distances(
                real, self._plain.statistics(), self._wanted, seed=self._seed, protocol=protocol, errors=False
            )
        if self.reference.halves is not None:
            one, two = self.reference.halves
            halved = {**protocol, "reference_images": one.images, "translations": two.images}
            bounds["real_halves"], _ = distances(one, two, self._wanted, seed=self._seed, protocol=halved, errors=False)
        return figures, bounds, warnings

    def _gathering(self) -> Gathering:
        return Gathering(sliced=self._wanted.sliced, lenses=self._wanted.used, seed=self._seed)


def _comparable(source: Domain | None, target: Domain) -> bool:
    """Say whether untranslated inputs can stand in for translations: the same channels, or grey as RGB."""
    if source is None or (source.labels is not None and source.labels.feed == "one_hot"):
        return False
    return source.channels == target.channels or (source.channels, target.channels) == (1, 3)
