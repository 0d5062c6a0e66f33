"""The sets of images of one direction, compared as sets: translations, real images, untranslated inputs."""

from __future__ import annotations

from typing import final

from unpaired.evaluation.dataset import Batch, Task
from unpaired.evaluation.statistics import Gathering, Reference, Request, Statistics


@final
class Sets:
    """Gathers the statistics of translations and of untranslated inputs beside those of the real images."""

    def __init__(self, task: Task, request: Request, reference: Reference) -> None:
        self._request, self.reference = request, reference
        self._fakes = Gathering(request)
        self._inputs = Gathering(request) if request.protocol.bounds and task.comparable else None
        self._fake: Statistics | None = None

    def add(self, batch: Batch) -> None:
        """Add translations and their inputs, at the size at which sets are compared."""
        for gathering, images in ((self._fakes, batch), (self._inputs, batch.untranslated if self._inputs else None)):
            if gathering is not None and images is not None:
                features = {key: images.features(network) for key, network in self._request.networks.items()}
                gathering.add(images.fake_for_sets, features)

    @property
    def real(self) -> Statistics:
        """The real images."""
        return self.reference.whole

    @property
    def fake(self) -> Statistics:
        """The translations; nothing can be added any more."""
        if self._fake is None:
            self._fake = self._fakes.statistics()
            self._plain = None if self._inputs is None else self._inputs.statistics()
        return self._fake

    def bounds(self) -> dict[str, tuple[Statistics, Statistics]]:
        """Return what else is compared, by name of the bound: real and, in place of translations, other images."""
        found = {}
        if self.fake and self._plain is not None:
            found["untranslated"] = (self.real, self._plain)
        if self.reference.halves is not None:
            found["real_halves"] = self.reference.halves
        return found
