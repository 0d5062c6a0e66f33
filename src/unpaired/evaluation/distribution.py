"""Sets of images compared with sets of images: sliced Wasserstein, Fréchet and kernel distance, precision, recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unpaired.evaluation.figures import Better, Figure, Protocol
from unpaired.evaluation.options import Options
from unpaired.evaluation.statistics import PATCHES, ROWS, Lens, Seen, Statistics
from unpaired.metrics.estimate import frechet_estimate
from unpaired.metrics.frechet import frechet_distance
from unpaired.metrics.kernel import kernel_distance, takes_subsets
from unpaired.metrics.manifold import precision_recall
from unpaired.metrics.sliced import sliced_wasserstein

NEIGHBOURS = 3
SUBSETS, SUBSET_SIZE = 100, 1000
PROJECTIONS = 512
QUICK = 512
"""Of at most so many features or images the sampling error of a Fréchet distance takes no time to speak of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The distances that are taken: whether by patches, and which through every lens."""

    sliced: bool
    lenses: tuple[tuple[Lens, frozenset[str]], ...]
    """Each lens with those of `frechet`, `kernel`, `precision`, `recall` that are measured through it."""

    @property
    def used(self) -> tuple[Lens, ...]:
        """The lenses through which sets are seen."""
        return tuple(lens for lens, kinds in self.lenses if kinds)


def wanted_distances(options: Options, lenses: Sequence[Lens]) -> Wanted:
    """Return which distances are taken, with the feature networks that are at hand."""
    chosen = list[tuple[Lens, frozenset[str]]]()
    first = "features" if any(lens.key == "features" for lens in lenses) else "inception"
    for lens in lenses:
        named = (
            {"fid": "frechet", "kid": "kernel"} if lens.key == "inception" else {k: k for k in ("frechet", "kernel")}
        )
        kinds = {kind for name, kind in named.items() if options.allows(name)}
        if lens.key == first:
            kinds |= {name for name in ("precision", "recall") if options.allows(name)}
        chosen.append((lens, frozenset(kinds)))
    return Wanted(sliced=options.allows("swd"), lenses=tuple(chosen))


def distances(
    real: Statistics, fake: Statistics, wanted: Wanted, *, seed: int, protocol: Protocol, errors: bool = True
) -> tuple[list[Figure], list[str]]:
    """Return the figures of two sets, and warnings; without `errors` the sampling error of Fréchet distances is left
    out where it takes long.

    What cannot be measured of so few images is left out with a warning.
    """
    found, warnings = list[Figure](), list[str]()
    facts = {**protocol, "seed": seed}
    if wanted.sliced and real.patches is not None and fake.patches is not None:
        found += _sliced(real, fake, seed, facts)
    for lens, kinds in wanted.lenses:
        if not kinds:
            continue
        view = _View(lens, real.seen[lens.key], fake.seen[lens.key], facts, seed)
        if "frechet" in kinds:
            figures, told = view.frechet(errors)
            found += figures
            warnings += told
        least = min(len(view.real.rows), len(view.fake.rows))
        if "kernel" in kinds:
            if least < 2:
                warnings.append(f"{view.kernel_title} is left out: it needs two images in each set")
            else:
                found.append(view.kernel())
        if kinds & {"precision", "recall"}:
            if least <= NEIGHBOURS:
                warnings.append(f"precision and recall are left out: they need {NEIGHBOURS + 1} images in each set")
            else:
                found += [figure for figure in view.manifold() if figure.name in kinds]
    return found, warnings


def _sliced(real: Statistics, fake: Statistics, seed: int, protocol: Protocol) -> list[Figure]:
    assert real.patches is not None
    assert fake.patches is not None
    measured = sliced_wasserstein(real.patches, fake.patches, projections=PROJECTIONS, seed=seed)
    facts = {
        **protocol,
        "method": f"Laplacian pyramid, patches of 7 x 7, {real.patches.per_image} an image, at most {PATCHES:,} a "
        f"level, {PROJECTIONS} projections, x 1000",
    }
    whole = Figure(
        name="swd",
        title="Sliced Wasserstein distance",
        value=measured.mean,
        better="lower",
        group="distribution",
        protocol=facts,
        note="mean over the levels " + ", ".join(f"{size} px: {value:.1f}" for size, value in measured.levels),
    )
    levels = [
        Figure(
            name=f"swd_{size}",
            title=f"Sliced Wasserstein distance, level of {size} px",
            value=value,
            better="lower",
            group="distribution",
            protocol=facts,
        )
        for size, value in measured.levels
    ]
    return [whole, *(levels if len(levels) > 1 else [])]


class _View:
    """Two sets of images through one lens."""

    def __init__(self, lens: Lens, real: Seen, fake: Seen, protocol: Protocol, seed: int) -> None:
        features = lens.features
        self.lens, self.real, self.fake, self.seed = lens, real, fake, seed
        self.facts = {
            **protocol,
            "features": features.name,
            "features_fingerprint": features.fingerprint,
            "features_input": features.input,
        }
        self.plain = features.plain_fid
        # Only these features make it FID and KID; with any others the title says which, and so does the name.
        own = "" if lens.key == "features" else "_inception"
        self.frechet_name, self.frechet_title = (
            ("fid", "FID") if self.plain else (f"frechet{own}", f"Fréchet distance ({features.name})")
        )
        self.kernel_name, self.kernel_title = (
            ("kid", "KID") if self.plain else (f"kernel{own}", f"Kernel distance ({features.name})")
        )

    def frechet(self, errors: bool) -> tuple[list[Figure], list[str]]:
        """Return the Fréchet distance of all images; its error is that of the kept rows."""
        counts = (self.real.moments.count, self.fake.moments.count)
        if min(counts) < 2:
            return [], [f"{self.frechet_title} is left out: a covariance needs two images in each set"]
        quick = self.lens.features.dim <= QUICK or max(len(self.real.rows), len(self.fake.rows)) <= QUICK
        estimate = frechet_estimate(self.real.rows, self.fake.rows) if errors or quick else None
        every = max(counts) > ROWS  # then the rows are a sample, and the distance is that of all images
        value = estimate.value if estimate and not every else frechet_distance(self.real.moments, self.fake.moments)
        dim, warnings = self.lens.features.dim, list[str]()
        if min(counts) <= dim:
            warnings.append(
                f"{self.frechet_title} of {counts[0]:,} real images and {counts[1]:,} translations: with {dim:,} "
                f"features the covariances are singular and the figure is far too large for so few images. More than "
                f"{dim:,} images are needed; use {self.kernel_title}, which is not biased by their number"
            )
        figure = Figure(
            name=self.frechet_name,
            title=self.frechet_title,
            value=value,
            error=None if estimate is None else estimate.error,
            better="lower",
            group="distribution",
            protocol={
                **self.facts,
                "error": f"standard error by delete-group jackknife, at most {ROWS:,} images a set",
            },
        )
        return [figure], warnings

    def kernel(self) -> Figure:
        """Return the kernel distance of the kept rows."""
        whole = not takes_subsets(len(self.real.rows), len(self.fake.rows), SUBSET_SIZE)
        estimate = kernel_distance(
            self.real.rows, self.fake.rows, subsets=SUBSETS, subset_size=SUBSET_SIZE, seed=self.seed
        )
        way = (
            "unbiased MMD², polynomial kernel of degree 3, of all images once; standard error by delete-group jackknife"
            if whole
            else f"unbiased MMD², polynomial kernel of degree 3, mean of {SUBSETS} subsets of {SUBSET_SIZE:,}; "
            "standard error by the sampling of images"
        )
        return Figure(
            name=self.kernel_name,
            title=self.kernel_title,
            value=estimate.value,
            error=estimate.error,
            better="lower",
            group="distribution",
            protocol={**self.facts, "method": way},
        )

    def manifold(self) -> list[Figure]:
        """Return precision and recall of the kept rows."""
        values = precision_recall(self.real.rows, self.fake.rows, NEIGHBOURS)
        title = {"precision": "Precision", "recall": "Recall"}
        higher: Better = "higher"
        return [
            Figure(
                name=name,
                title=f"{title[name]} ({self.lens.features.name})",
                value=value,
                better=higher,
                group="distribution",
                protocol={
                    **self.facts,
                    "method": f"improved precision and recall, k = {NEIGHBOURS}, at most {ROWS:,} images a set",
                },
            )
            for name, value in zip(("precision", "recall"), values, strict=True)
        ]
