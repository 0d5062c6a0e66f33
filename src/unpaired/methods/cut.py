"""CUT and FastCUT: Contrastive Learning for Unpaired Image-to-Image Translation.

Park, Efros, Zhang, Zhu, ECCV 2020, arXiv:2007.15651. One direction: x from the source, y from the target. The first
layers of G serve as an encoder, and a patch of the translation should be recognisable, by its features, as made of the
patch at the same place. Updates, details and defaults follow the authors' code.

Options from two later papers: queries selected by attention (QS-Attn: Hu et al., CVPR 2022, arXiv:2203.08483), and hard
negatives with consistent semantic relations (Hneg-SRC: Jung, Kwon, Ye, CVPR 2022, arXiv:2203.01532).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from unpaired import networks
from unpaired.core.errors import UserError, option
from unpaired.methods.base import Batch, Direction, ImageShapes, Method, Player, Term, Update
from unpaired.methods.losses import (
    AdversarialConfig,
    Weight,
    discriminator_loss,
    generator_loss,
    hard_nce,
    info_nce,
    precise,
    relation_distance,
    require_one_size,
    unused_discriminator,
)
from unpaired.networks.base import without_autocast

Layer = Annotated[int, Field(ge=0, le=10_000)]
Maps = list[Tensor] | None
"""Features of an image, one map per compared layer, or None where they are not at hand."""


class PatchConfig(AdversarialConfig):
    """Settings of the contrastive loss of patches."""

    nce_layers: tuple[Layer, ...] = (0, 4, 8, 12, 16)
    """Layers of the generator whose features are compared, numbered as in the authors' code."""
    num_patches: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Patches per layer and image, drawn anew in every step."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    """tau of the contrastive loss (Eq. 2 of CUT)."""
    embedding_width: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Units of the two-layer network that embeds the features of each layer."""
    init: networks.InitConfig = networks.InitConfig(scheme="xavier")
    """How the weights start."""


class Config(PatchConfig):
    """Settings of CUT. Defaults are those of the authors' code."""

    direction: Direction = "a2b"
    """Which domain is translated into which: a2b or b2a."""
    gan_weight: Weight = 1.0
    """Weight of the adversarial loss; 0 leaves it and the discriminator out."""
    nce_weight: Annotated[float, Field(gt=0)] = 1.0
    """lambda_X of Eq. 5: the weight of the contrastive loss; 10 in FastCUT."""
    identity: bool = True
    """Whether G should also leave images of the target as they are, by the same loss (lambda_Y of Eq. 5): the mean of
    both is taken, as in the authors' code. Off in FastCUT."""
    flip_equivariance: bool = False
    """Whether every second batch is flipped before G, and its features flipped back; on in FastCUT."""
    queries: Literal["random", "attention"] = "random"
    """Which patches are compared: random ones, or, in the layers of the coarsest resolution, those whose attention over
    the image has the smallest entropy, with features gathered by it (QS-Attn, global)."""
    negatives: Literal["equal", "hard"] = "equal"
    """How a query's negatives count: all alike, or more the more their source patches resemble its own, without the
    positive among them (hDCE of Hneg-SRC; its authors take `nce_weight` = 0.1 with it)."""
    hardness: Annotated[float, Field(gt=0)] = 50.0
    """gamma of Hneg-SRC's weights, for `negatives` = hard: the smaller, the more the hardest negatives count. Constant
    here; its authors lower it linearly to 10."""
    relation_weight: Weight = 0.0
    """Weight of the semantic relation consistency of Hneg-SRC: patches of the translation resemble one another as their
    sources do. Its authors take 0.05."""
    generator: networks.ResnetConfig = networks.ResnetConfig(downsampling="blur", upsampling="blur")
    """ResNet with 9 blocks and anti-aliased sampling."""
    discriminator: networks.DiscriminatorConfig = networks.PatchganConfig(downsampling="blur")
    """PatchGAN with anti-aliased sampling."""

    def check(self) -> None:
        """Refuse settings that nothing would use."""
        super().check()
        if not self.gan_weight:
            self.refuse_without_gan("objective", "gradient_penalty_weight")
        if self.negatives == "equal" and self.is_set("hardness"):
            raise UserError(
                f"{option('method.hardness', self.hardness)} has no meaning with "
                f"{option('method.negatives', 'equal')}. Leave it out, or set {option('method.negatives', 'hard')}."
            )


class FastConfig(Config):
    """Settings of FastCUT: lighter, with a heavier contrastive loss and without the identity term."""

    nce_weight: Annotated[float, Field(gt=0)] = 10.0
    """lambda_X of Eq. 5."""
    identity: bool = False
    """Whether G should also leave images of the target as they are."""
    flip_equivariance: bool = True
    """Whether every second batch is flipped before G, and its features flipped back."""


@final
class PatchEmbedding(nn.Module):
    """Draw patches of feature maps and embed each on the unit sphere: H_l of section 3.2, a two-layer network a layer.

    The widths are known when it is built, so that nothing depends on a first batch.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width)) for inputs in channels
        )

    def forward(self, features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        """Embed maps [N, C_l, H_l, W_l]: [N, P_l, width] each, of length 1.

        `places` are indices [P_l] into H_l x W_l, or weights [N, P_l, H_l W_l] of all places.
        """
        embedded = []
        for layer, maps, where in zip(self.layers, features, places, strict=True):
            rows = maps.flatten(2)
            drawn = rows.index_select(2, where).transpose(1, 2) if where.ndim == 1 else where @ rows.transpose(1, 2)
            values = precise(layer(drawn))
            # The authors add 1e-7 to the length, which `normalize` would only bound from below.
            embedded.append(values / (torch.linalg.vector_norm(values, dim=-1, keepdim=True) + 1e-7))
        return embedded


def draw_places(features: Sequence[Tensor], count: int) -> list[Tensor]:
    """Return up to `count` different places of each map, the same for all images of the batch."""
    sizes = [maps.shape[2] * maps.shape[3] for maps in features]
    # The largest of uniform numbers: a draw without replacement that a CUDA graph can hold.
    return [
        torch.rand(size, device=maps.device).topk(min(count, size)).indices
        for size, maps in zip(sizes, features, strict=True)
    ]


def select_queries(features: Sequence[Tensor], count: int) -> list[Tensor]:
    """Return `draw_places`, with weights of attention [N, P, H W] in place of it for the maps of the fewest places.

    The global attention of QS-Attn: it is the softmax over a map's places of the products of its features; the rows of
    least entropy are taken. Its code selects the last two of CUT's five layers, which are those of the fewest places.
    """
    fewest = min(maps.shape[2] * maps.shape[3] for maps in features)
    places = draw_places(features, count)
    for number, maps in enumerate(features):
        if maps.shape[2] * maps.shape[3] == fewest:
            with without_autocast(maps):
                values = precise(maps).flatten(2)
                attention = (values.transpose(1, 2) @ values).softmax(2)
            entropy = torch.special.entr(attention).sum(2)
            rows = entropy.topk(min(count, fewest), largest=False).indices
            places[number] = attention.gather(1, rows[:, :, None].expand(-1, -1, fewest))
    return places


def patch_nce(
    config: PatchConfig,
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    embed: PatchEmbedding,
    embed_keys: PatchEmbedding,
) -> Tensor:
    """Return the mean over the layers of Eq. 3 for the features of translations and those of their sources, a scalar.

    Both are maps [N, C_l, H_l, W_l], embedded by networks of their own or by the same one.
    """
    with torch.no_grad():  # the loss does not differentiate keys
        places = draw_places(keys, config.num_patches)
        embedded_keys = embed_keys(keys, places)
    pairs = zip(embed(queries, places), embedded_keys, strict=True)
    return torch.stack([info_nce(q, k, config.temperature) for q, k in pairs]).mean()


def with_keys(
    generator: networks.ResnetGenerator, config: networks.ResnetConfig, image: Tensor, layers: Sequence[int]
) -> tuple[Tensor, Maps]:
    """Return what a generator makes of an image, and the features of the image that it had on the way.

    The authors compute these once more, from the same weights. That is left to the loss (None) where it gives something
    else (dropout) or where nothing is to be kept.
    """
    if config.dropout or generator.recompute:
        return generator(image), None
    output, maps = generator.with_features(image, layers)
    return output, [of_layer.detach() for of_layer in maps]


class CUT(Method):
    """A translator, a discriminator of its target, and the embedding of its features."""

    config_class: ClassVar[type[Config]] = Config
    config: Config
    defaults: ClassVar[Mapping[str, Any]] = {"training.epochs": 200, "training.decay_epochs": 200}

    @classmethod
    def adapt(cls, config: Config, shapes: ImageShapes, chosen: frozenset[str]) -> tuple[Config, list[str]]:
        """Say which settings have no use."""
        return config, unused_discriminator(config.gan_weight, chosen)

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        source, target = shapes.seen_from(config.direction)
        if source != target:
            raise UserError(
                "CUT sends images and their translations through one encoder, so both domains need as many channels; "
                f"A has {shapes.channels_a} and B has {shapes.channels_b}. Set data.channels_a and data.channels_b to "
                "one number (label maps: data.labels_a.feed = colour), or train cyclegan."
            )
        self.G = networks.ResnetGenerator(config.generator, source, target)
        if config.gan_weight:
            require_one_size(config, shapes)
            self.D = networks.build_discriminator(config.discriminator, target)
        else:
            self.obsolete = ("D.",)
        self.H = PatchEmbedding(self.G.feature_channels(config.nce_layers), config.embedding_width)
        for network in self.children():
            networks.initialize(network, config.init)

    def players(self) -> dict[str, Player]:
        judges = {"discriminator": Player("discriminator", self.D)} if self.config.gan_weight else {}
        return {**judges, "generator": Player("generator", self.G, self.H)}

    def terms(self) -> dict[str, Term]:
        relation = {"relation": Term("contrastive", "relation_weight")} if self.config.relation_weight else {}
        return {
            "discriminator": Term("discriminator"),
            "nce": Term("contrastive", "nce_weight"),
            "gan": Term("adversarial", "gan_weight"),
            "identity": Term("identity", "identity"),
            **relation,
        }

    def translators(self) -> dict[str, networks.Generator]:
        return {self.config.direction: self.G}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the discriminator's update, then that of generator and embedding, as in the authors' code."""
        c = self.config
        x, y = next(batches).seen_from(c.direction)
        flipped = torch.rand((), device=x.device) < 0.5 if c.flip_equivariance else None
        (fake_y, keys_x), (same_y, keys_y) = self.translate(_flip(x, flipped), _flip(y, flipped))

        if c.gan_weight:
            yield Update("discriminator", discriminator=discriminator_loss(c, self.D, y, fake_y.detach()))

        share = c.nce_weight / 2 if c.identity else c.nce_weight
        pairs = self.embed(fake_y, x, keys_x, flipped)
        terms = {"nce": share * self.contrast(pairs)}  # Eq. 3
        if c.relation_weight:  # L_SRC of Hneg-SRC
            terms["relation"] = c.relation_weight * torch.stack([relation_distance(q, k) for q, k in pairs]).mean()
        if c.gan_weight:
            terms["gan"] = c.gan_weight * generator_loss(c.objective, self.D(fake_y))  # Eq. 1
        if same_y is not None:
            terms["identity"] = share * self.contrast(self.embed(same_y, y, keys_y, flipped))  # Eq. 5, the last term
        yield Update("generator", **terms)

    def translate(self, x: Tensor, y: Tensor) -> tuple[tuple[Tensor, Maps], tuple[Tensor | None, Maps]]:
        """Return the translation of x, and what G makes of y where that counts; each with the features of its input."""
        if not self.config.identity:
            return self.observe(x), (None, None)
        if networks.mixes_images(self.G) or x.shape != y.shape:
            return self.observe(x), self.observe(y)
        both, maps = self.observe(torch.cat([x, y]))
        fake_y, same_y = both.chunk(2)
        halves = [maps_of_both.chunk(2) for maps_of_both in maps] if maps is not None else []
        if not halves:
            return (fake_y, None), (same_y, None)
        return (fake_y, [of_x for of_x, _ in halves]), (same_y, [of_y for _, of_y in halves])

    def observe(self, image: Tensor) -> tuple[Tensor, Maps]:
        """Return what G makes of an image, and the image's features, or None where it is flipped."""
        if self.config.flip_equivariance:
            return self.G(image), None
        return with_keys(self.G, self.config.generator, image, self.config.nce_layers)

    def embed(self, output: Tensor, image: Tensor, keys: Maps, flipped: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Return (queries, keys) of each layer: patches of `output` and those of `image`, its source, embedded.

        `keys` are the image's features where they are at hand.
        """
        c = self.config
        queries = [_flip(maps, flipped) for maps in self.G.features(output, c.nce_layers)]
        with torch.no_grad():  # the loss does not differentiate keys; nor attention here, unlike in QS-Attn's code
            keys = self.G.features(image, c.nce_layers) if keys is None else keys
            places = (draw_places if c.queries == "random" else select_queries)(keys, c.num_patches)
            embedded_keys = self.H(keys, places)
        return list(zip(self.H(queries, places), embedded_keys, strict=True))

    def contrast(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the mean over the layers of Eq. 3, or of hDCE in its place."""
        c = self.config
        if c.negatives == "hard":
            return torch.stack([hard_nce(q, k, c.temperature, c.hardness) for q, k in pairs]).mean()
        return torch.stack([info_nce(q, k, c.temperature) for q, k in pairs]).mean()


@final
class FastCUT(CUT):
    """CUT with a heavier contrastive loss, without the identity term, and with fewer epochs."""

    config_class = FastConfig
    defaults: ClassVar[Mapping[str, Any]] = {"training.epochs": 150, "training.decay_epochs": 50}


def _flip(images: Tensor, flipped: Tensor | None) -> Tensor:
    """Exchange left and right where `flipped`, a boolean scalar on the device, says so."""
    return images if flipped is None else torch.where(flipped, images.flip(3), images)
