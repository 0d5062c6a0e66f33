"""Translation by latent search: find the latent vector whose rendering in A is the image, and render it in B.

Section 6 of Liu & Tuzel 2016 (arXiv:1606.07536): z* = argmin_z L(g_1(z), x_1), then x_2 = g_2(z*). The authors take the
Euclidean distance and L-BFGS; here it is the mean squared error and Adam from several starting points. A search finds
only what the generator can render, so its remaining error is part of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, final

import torch
import torch.nn.functional as nnf
from pydantic import Field
from torch import Tensor, nn

from unpaired.core.settings import Settings
from unpaired.networks.base import Search, SearchError
from unpaired.networks.coupled import CoupledGenerator, CoupledGeneratorConfig, Domain

SEED = 20160920
"""Of the starting points: fixed, so that an image has one translation."""
REPORTS = 20
"""Times per image that `progress` is called; asking the device for the error makes it wait."""
PIXELS = 1 << 18
"""Random latent vectors are rendered in portions of so many pixels, so that memory does not grow with their number."""
Side = Annotated[int, Field(ge=8, le=4096)]


class SearchConfig(Settings):
    """How the latent vector of an image is searched for."""

    steps: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Steps of Adam; the learning rate falls to zero over them along a cosine."""
    restarts: Annotated[int, Field(ge=1, le=256)] = 4
    """Latent vectors that are improved side by side; the best one counts."""
    starts: Annotated[int, Field(ge=1, le=65_536)] = 512
    """Random latent vectors from which those nearest to the image are taken to begin with, at least `restarts`."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """Adam's first learning rate; its betas are 0.9 and 0.999."""
    prior: Annotated[float, Field(ge=0)] = 0.02
    """Weight of the mean square of the latent vector beside the mean squared error: keeps it where training was."""


class LatentSearchConfig(Settings):
    """A coupled generator, the domain that images come from, and how they are searched for."""

    source: Domain
    """The domain of the images that it takes; it returns images of the other."""
    size: tuple[Side, Side]
    """(height, width) of the images that the generator makes."""
    generator: CoupledGeneratorConfig = CoupledGeneratorConfig()
    """The coupled generator."""
    search: SearchConfig = SearchConfig()
    """The search."""
    family: Literal["latent_search"] = "latent_search"
    """Which translator this is."""


@final
class LatentSearch(Search):
    """Translate [N, C, H, W] of any size by an optimisation; no network maps the one image to the other.

    An image of another size than the generator's is resized to it (bicubic, antialiased) and its translation back.
    Each image is searched for by itself, from the same starting points, so that its translation does not depend on the
    images beside it. The search computes in float32 with the generator's running statistics, wherever it is called.
    """

    config_class = LatentSearchConfig
    config: LatentSearchConfig

    def __init__(
        self, config: LatentSearchConfig, in_channels: int, out_channels: int, generator: CoupledGenerator | None = None
    ) -> None:
        """Search with `generator`, which several searches may share; without one a new one is built."""
        super().__init__(config, in_channels, out_channels, size_multiple=1, minimum_size=1)
        channels = (in_channels, out_channels) if config.source == "a" else (out_channels, in_channels)
        self.generator = generator or CoupledGenerator(config.generator, *channels, config.size)
        self.target: Domain = "b" if config.source == "a" else "a"
        self.last_errors = []

    @property
    def summary(self) -> str:
        search = self.config.search
        return f"a latent search of {search.steps} steps from {search.restarts} starts for each image"

    def forward(self, image: Tensor) -> Tensor:
        """Translate [N, in_channels, H, W] to [N, out_channels, H, W] in [-1, 1]; `last_errors` says how well."""
        self.check(image)
        with self._searching():
            # A copy made here is an ordinary tensor, also where the caller's is one of inference mode.
            wanted = _resized(image.detach().float().clone(), self.config.size)
            starts = self._latents(max(self.config.search.starts, self.config.search.restarts), SEED)
            distances = self._distances(starts, wanted)
            found = [self._search(wanted, number, starts, distances[number]) for number in range(len(wanted))]
            with torch.no_grad():
                translated = torch.cat([self.generator.render(latent, self.target) for latent, _ in found])
                result = _resized(translated, (image.shape[2], image.shape[3]))
        self.last_errors = [error for _, error in found]
        return result.to(image.dtype)

    @torch.no_grad()
    def generate(self, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Render `count` random latent vectors in both domains, [count, C, H, W] each: always the same for a seed.

        The state of other random numbers stays as it is.
        """
        with self._searching(), torch.no_grad():
            pairs = [self.generator.forward(part) for part in self._portions(self._latents(count, seed))]
        return torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])

    @torch.no_grad()
    def _distances(self, latents: Tensor, images: Tensor) -> list[Tensor]:
        """Return for each image its distance [M] from the rendering of each of M latent vectors."""
        parts = []
        for part in self._portions(latents):
            renderings = self.generator.render(part, self.config.source)
            # Each image by itself: its figures must not depend on those beside it.
            parts.append([_distance(renderings, image[None]) for image in images])
        return [torch.cat(of_image) for of_image in zip(*parts, strict=True)]

    def _portions(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Split latent vectors [M, latent] into portions whose length depends on the size of the images alone."""
        return torch.split(latents, max(1, PIXELS // (self.config.size[0] * self.config.size[1])))

    def _search(self, images: Tensor, number: int, starts: Tensor, distances: Tensor) -> tuple[Tensor, SearchError]:
        """Return the latent vector [1, latent] for one image, and what remains."""
        config, image = self.config.search, images[number : number + 1]
        with torch.no_grad():
            first = (distances + config.prior * _spread(starts)).topk(config.restarts, largest=False)
        latent = starts[first.indices].clone().requires_grad_()
        optimizer = torch.optim.Adam([latent], lr=config.learning_rate)
        best, lowest = latent.detach().clone(), first.values.clone()
        often = max(1, config.steps // REPORTS)
        for step in range(config.steps + 1):
            rendering = self.generator.render(latent, self.config.source)
            loss = _distance(rendering, image) + config.prior * _spread(latent)
            better = loss.detach() < lowest
            best = torch.where(better[:, None], latent.detach(), best)
            lowest = torch.where(better, loss.detach(), lowest)
            if self.progress is not None and (step % often == 0 or step == config.steps):
                error = float((rendering.detach() - image).abs().mean((1, 2, 3)).min())
                self.progress(number * config.steps + step, len(images) * config.steps, error)
            if step == config.steps:
                break  # the last latent vector has been judged and is not moved any more
            (latent.grad,) = torch.autograd.grad(loss.sum(), latent)
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 + math.cos(math.pi * step / config.steps)) / 2
            optimizer.step()
        chosen = best[lowest.argmin()][None]
        with torch.no_grad():
            difference = (self.generator.render(chosen, self.config.source) - image).double()
        square = float(difference.square().mean())
        psnr = 10 * math.log10(4 / square) if square > 0 else math.inf
        return chosen, SearchError(l1=float(difference.abs().mean()), psnr=psnr)

    def _latents(self, count: int, seed: int) -> Tensor:
        """Draw latent vectors [count, latent] on the CPU, where the numbers are the same for every device."""
        numbers = torch.Generator().manual_seed(seed)
        drawn = torch.randn(count, self.config.generator.latent, generator=numbers, device="cpu")
        return drawn.to(next(self.generator.parameters()).device)

    @contextmanager
    def _searching(self) -> Iterator[None]:
        """Gradients on, autocast off, and the generator in evaluation mode, whatever the caller's state is."""
        modes: dict[nn.Module, bool] = {module: module.training for module in self.generator.modules()}
        device = next(self.generator.parameters()).device.type
        self.generator.eval()
        try:
            with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
                yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def _distance(renderings: Tensor, image: Tensor) -> Tensor:
    return (renderings - image).square().mean((1, 2, 3))


def _spread(latent: Tensor) -> Tensor:
    """Return the mean square [N] of latent vectors; 1 is what training sees on average."""
    return latent.square().mean(1)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if (image.shape[2], image.shape[3]) == size:
        return image
    # Bicubic interpolation overshoots at edges.
    return nnf.interpolate(image, size, mode="bicubic", antialias=True).clamp(-1, 1)
