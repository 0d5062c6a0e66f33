"""Sets of images compared with sets of images: sliced Wasserstein, colour, Fréchet and kernel distance, manifolds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, final

from unpaired.evaluation import statistics
from unpaired.evaluation.metrics.base import Context, Need, SetMetric, feature_network, network_facts
from unpaired.evaluation.statistics import Statistics
from unpaired.metrics.colour import PIXELS, PROJECTIONS, colour_distance
from unpaired.metrics.estimate import frechet_estimate
from unpaired.metrics.frechet import frechet_distance
from unpaired.metrics.kernel import kernel_distance, takes_subsets
from unpaired.metrics.manifold import density_coverage, precision_recall
from unpaired.metrics.sliced import PATCH, SMALLEST, sliced_wasserstein
from unpaired.report.results import Better, Fact, Figure

NEIGHBOURS = 3
WIDE_NEIGHBOURS = 5
"""Of density and coverage, as their authors have it."""
SUBSETS, SUBSET_SIZE = 100, 1000
QUICK = 512
"""Of at most so many features or images the error of a Fréchet distance takes no time to speak of."""


@final
class SlicedWasserstein(SetMetric):
    """Sliced Wasserstein distance of patches on Laplacian pyramids (Karras et al. 2018), x 1000; needs no weights."""

    name, title, better, group = "swd", "Sliced Wasserstein distance", "lower", "distribution"
    needs, smallest = frozenset({Need.PATCHES}), SMALLEST

    def distance(self, real: Statistics, fake: Statistics) -> Sequence[Figure]:
        """Return the mean over the levels, and the distance of each level."""
        assert real.patches is not None
        assert fake.patches is not None
        protocol = self.context.protocol
        measured = sliced_wasserstein(
            real.patches, fake.patches, projections=protocol.projections, seed=protocol.seed, errors=protocol.errors
        )
        facts: dict[str, Fact] = {
            "method": f"Laplacian pyramid, patches of {PATCH} x {PATCH}, {protocol.patches} an image, at most "
            f"{statistics.PATCHES:,} a level, {protocol.projections} projections, x 1000",
        }
        if protocol.errors:
            facts["error"] = "standard error by delete-group jackknife"
        note = "mean over the levels " + ", ".join(f"{level.size} px: {level.value:.1f}" for level in measured.levels)
        levels = [
            self.figure(
                level.value,
                level.error,
                name=f"swd_{level.size}",
                title=f"Sliced Wasserstein distance, level of {level.size} px",
                detail=True,
                facts=facts,
            )
            for level in measured.levels
        ]
        whole = self.figure(measured.mean, measured.error, note=note, facts=facts)
        return [whole, *(levels if len(levels) > 1 else [])]


@final
class ColourDistance(SetMetric):
    """Sliced Wasserstein distance of pixel values (Rabin et al. 2011), in levels of 255; needs no weights."""

    name, title, unit, better, group = "colour", "Colour distance", "levels", "lower", "distribution"
    needs = frozenset({Need.COLOURS})

    def distance(self, real: Statistics, fake: Statistics) -> Sequence[Figure]:
        assert real.colours is not None
        assert fake.colours is not None
        protocol = self.context.protocol
        value, error = colour_distance(real.colours, fake.colours, seed=protocol.seed, errors=protocol.errors)
        facts: dict[str, Fact] = {
            "method": f"{PIXELS} pixels an image, at most {statistics.COLOURS:,} a set, {PROJECTIONS} projections; "
            "one level of brightness is 1",
        }
        if protocol.errors:
            facts["error"] = "standard error by delete-group jackknife"
        return [self.figure(value, error, facts=facts)]


class _OfFeatures(SetMetric):
    """Compares features of a network; only Inception's with the published weights are called FID and KID."""

    better: ClassVar[Better | None] = "lower"
    group, needs = "distribution", frozenset({Need.FEATURES})
    least = 2
    """Images that each set must have."""
    kind: str
    """What the metric is called of any features."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        network = feature_network(type(self), context.networks)
        assert network is not None
        self.of = network
        self.key = next(key for key, one in context.networks.features.items() if one is network)
        if not (self.network == "inception" and network.plain_fid):
            self.title = f"{self.kind} ({network.name})"

    def distance(self, real: Statistics, fake: Statistics) -> Sequence[Figure]:
        if min(real.images, fake.images) < self.least:
            return []
        return [self.of_sets(real, fake)]

    def of_sets(self, real: Statistics, fake: Statistics) -> Figure:
        """Return the figure of two sets that are large enough."""
        raise NotImplementedError

    def warnings(self) -> Sequence[str]:
        if min(self.sets.real.images, self.sets.fake.images) >= self.least:
            return []
        return [f"{self.title} is left out: it needs {self.least} images in each set"]

    def facts(self, method: str, error: str | None = None) -> dict[str, Fact]:
        """Return what the figure depends on beside the protocol."""
        return {**network_facts(self.of), "method": method, **({} if error is None else {"error": error})}


class Frechet(_OfFeatures):
    """Fréchet distance (Heusel et al. 2017) of the features of --features, of all images."""

    name, title, kind = "frechet", "Fréchet distance", "Fréchet distance"

    def facts(self, method: str, error: str | None = None) -> dict[str, Fact]:
        return {**super().facts(method, error), "features_dim": self.of.dim}

    def of_sets(self, real: Statistics, fake: Statistics) -> Figure:
        rows = real.features[self.key], fake.features[self.key]
        moments = real.moments[self.key], fake.moments[self.key]
        quick = self.of.dim <= QUICK or max(map(len, rows)) <= QUICK
        # Errors of bounds take as long as those of the translations, so they are left out where that is minutes.
        errors = self.context.protocol.errors and (quick or fake is self.sets.fake)
        whole = max(one.count for one in moments) <= statistics.ROWS  # else the rows are a sample
        estimate = frechet_estimate(*rows, errors=errors) if errors or whole else None
        value = estimate.value if estimate and whole else frechet_distance(*moments)
        method = f"squared distance of Gaussians; errors of at most {statistics.ROWS:,} images a set"
        error = "standard error by delete-group jackknife" if errors else None
        name = self.name if self.name == "frechet" or self.of.plain_fid else "frechet_inception"
        return self.figure(
            value, None if estimate is None else estimate.error, name=name, facts=self.facts(method, error)
        )

    def warnings(self) -> Sequence[str]:
        real, fake, dim = self.sets.real.images, self.sets.fake.images, self.of.dim
        if self.least <= min(real, fake) <= dim:
            return [
                f"{self.title} of {real:,} real images and {fake:,} translations: with {dim:,} features the "
                f"covariances are singular and the figure is far too large for so few images. More than {dim:,} images "
                "are needed; use the kernel distance, which is not biased by their number"
            ]
        return super().warnings()


@final
class FID(Frechet):
    """Fréchet distance (Heusel et al. 2017) of the features of Inception."""

    name, title, network = "fid", "FID", "inception"


class Kernel(_OfFeatures):
    """Kernel distance (Bińkowski et al. 2018) of the features of --features."""

    name, title, kind = "kernel", "Kernel distance", "Kernel distance"

    def of_sets(self, real: Statistics, fake: Statistics) -> Figure:
        x, y = real.features[self.key], fake.features[self.key]
        seed = self.context.protocol.seed
        estimate = kernel_distance(x, y, subsets=SUBSETS, subset_size=SUBSET_SIZE, seed=seed)
        way = "unbiased MMD², polynomial kernel of degree 3, "
        if takes_subsets(len(x), len(y), SUBSET_SIZE):
            facts = self.facts(
                f"{way}mean of {SUBSETS} subsets of {SUBSET_SIZE:,}", "standard error by the sampling of images"
            )
        else:
            facts = self.facts(f"{way}of all images once", "standard error by delete-group jackknife")
        name = self.name if self.name == "kernel" or self.of.plain_fid else "kernel_inception"
        return self.figure(estimate.value, estimate.error, name=name, facts=facts)


@final
class KID(Kernel):
    """Kernel distance (Bińkowski et al. 2018) of the features of Inception."""

    name, title, network = "kid", "KID", "inception"


class _OfManifolds(_OfFeatures):
    better, network, least = "higher", "any", NEIGHBOURS + 1
    place: int
    neighbours = NEIGHBOURS
    pair: ClassVar[Callable[..., tuple[float, float]]] = staticmethod(precision_recall)
    method = "improved precision and recall"

    def of_sets(self, real: Statistics, fake: Statistics) -> Figure:
        known = real.computed
        key = (self.method, id(fake))  # the two of a pair are computed together
        if key not in known:
            known[key] = self.pair(real.features[self.key], fake.features[self.key], self.neighbours)
        method = f"{self.method}, k = {self.neighbours}, at most {statistics.ROWS:,} images a set"
        return self.figure(known[key][self.place], facts=self.facts(method))


@final
class Precision(_OfManifolds):
    """Share of translations that lie among the real images (Kynkäänniemi et al. 2019, k = 3)."""

    name, title, kind, place = "precision", "Precision", "Precision", 0


@final
class Recall(_OfManifolds):
    """Share of real images that lie among the translations (Kynkäänniemi et al. 2019, k = 3)."""

    name, title, kind, place = "recall", "Recall", "Recall", 1


class _OfBalls(_OfManifolds):
    neighbours, least = WIDE_NEIGHBOURS, WIDE_NEIGHBOURS + 1
    pair = staticmethod(density_coverage)
    method = "density and coverage"


@final
class Density(_OfBalls):
    """In how many neighbourhoods of real images a translation lies, over k (Naeem et al. 2020, k = 5); 1 is as real."""

    name, title, kind, place = "density", "Density", "Density", 0


@final
class Coverage(_OfBalls):
    """Share of real images with a translation in their neighbourhood (Naeem et al. 2020, k = 5)."""

    name, title, kind, place = "coverage", "Coverage", "Coverage", 1
