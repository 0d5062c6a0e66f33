"""What a mistyped command or option is answered with: the nearest of the right command, or ours for the authors'."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError

AUTHORS_OPTIONS = {
    "dataroot": "--data ROOT",
    "name": "--out RUN",
    "checkpoints_dir": "--out RUN (the whole path of the run)",
    "results_dir": "--out DIR",
    "model": "METHOD, the first word after train, such as: unpaired train cyclegan",
    "dataset_mode": "nothing: METHOD says whether images are pairs; for pairs in one file, --side-by-side ab",
    "gpu_ids": "--device cuda:0 (cpu for -1); several GPUs: torchrun --nproc-per-node=2 -m unpaired train ...",
    "netG": "--set method.generator.family=resnet (or unet) and --set method.generator.blocks=6 (or 9)",
    "netD": "--set method.discriminator.family=patchgan (or pixel)",
    "ngf": "--set method.generator.width=64",
    "ndf": "--set method.discriminator.width=64",
    "n_layers_D": "--set method.discriminator.layers=3",
    "norm": "--set method.generator.norm=instance and --set method.discriminator.norm=instance",
    "no_dropout": "nothing: dropout is off; --set method.generator.dropout=true turns it on",
    "init_type": "--set method.init.scheme=normal",
    "init_gain": "--set method.init.gain=0.02",
    "input_nc": "--set data.channels_a=3",
    "output_nc": "--set data.channels_b=3",
    "gan_mode": "--set method.objective=lsgan",
    "lambda_A": "--set method.cycle_a_weight=10",
    "lambda_B": "--set method.cycle_b_weight=10",
    "lambda_identity": "--set method.identity_weight=5 (for 0.5; not multiplied by lambda_A)",
    "lambda_L1": "--set method.l1_weight=100",
    "lambda_GAN": "--set method.gan_weight=1",
    "lambda_NCE": "--set method.nce_weight=1",
    "pool_size": "--set method.pool_size=50",
    "n_epochs": "--epochs 100",
    "niter": "--epochs 100",
    "n_epochs_decay": "--decay-epochs 100",
    "niter_decay": "--decay-epochs 100",
    "lr": "--set training.learning_rate=0.0002",
    "lr_policy": "--set training.schedule=linear",
    "lr_decay_iters": "--set training.step_epochs=50",
    "beta1": "--set training.betas=[0.5,0.999]",
    "load_size": "--load-size 286",
    "loadSize": "--load-size 286",
    "crop_size": "--crop-size 256",
    "fineSize": "--crop-size 256",
    "preprocess": "--preprocess resize_and_crop",
    "no_flip": "--set data.flip=false",
    "batch_size": "--batch-size 1",
    "batchSize": "--batch-size 1",
    "serial_batches": "nothing: the order of unpaired images is always drawn anew",
    "num_threads": "--set data.workers=4",
    "max_dataset_size": "--max-images (training images in all), or a smaller folder",
    "direction": "--direction a2b for unpaired translate; --set method.direction=b2a for unpaired train",
    "continue_train": "--resume RUN",
    "epoch_count": "--resume RUN, which knows the epoch",
    "epoch": "--checkpoint best, last or a number of images",
    "load_iter": "--checkpoint NUMBER",
    "phase": "nothing: train reads the training images, evaluate the test images",
    "num_test": "--images 50 for unpaired evaluate",
    "save_epoch_freq": "--set training.checkpoint_every_images=10000",
    "save_latest_freq": "--set training.checkpoint_every_images=5000",
    "display_freq": "--set training.sample_every_images=400",
    "print_freq": "--set training.log_every_images=100",
    "display_id": "nothing: open RUN/index.html, which shows the training while it runs",
    "display_port": "nothing: open RUN/index.html, which shows the training while it runs",
    "no_html": "nothing: RUN/index.html is one small file",
    "use_wandb": "the callbacks of unpaired.train; see examples/",
    "verbose": "unpaired info RUN",
}
"""Options of pytorch-CycleGAN-and-pix2pix and of CUT -> what to give in their place."""


def explain(error: CycloptsError, app: App, order: Sequence[str]) -> str:
    """Return one sentence about what the command line cannot understand; `order` is that of the commands."""
    from cyclopts.exceptions import MissingArgumentError, UnknownCommandError, UnknownOptionError

    command = " ".join(["unpaired", *(error.command_chain or ())])
    options = _options_of(app, error.command_chain or ())
    see = f" See {command} --help."
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        typed = error.unused_tokens[0]
        names = sorted((name for name in (error.app or app) if not name.startswith("-")), key=_place(order))
        near = nearest(typed, names)
        hint = f' Did you mean "{near}"?' if near else ""
        return f'there is no command "{command} {typed}".{hint} Commands: {", ".join(names)}.{see}'
    unknown = [error.token.keyword or error.token.value] if isinstance(error, UnknownOptionError) else []
    if isinstance(error, MissingArgumentError):  # an option that there is not explains why another one is missing
        typed_options = [token for token in error.root_input_tokens or () if token.startswith("--") and len(token) > 2]
        unknown = [token for token in typed_options if token.split("=")[0].replace("_", "-") not in options]
    if unknown:
        typed = unknown[0].split("=")[0]
        return f"{command} has no option {typed}.{_answer(typed, options)}{see}"
    error.verbose = False
    if isinstance(error, MissingArgumentError) and error.argument is not None and not error.unused_tokens:
        return f"{error.argument.name} is missing.{see}"
    return f"{' '.join(str(error).split())}{see}"


def _place(order: Sequence[str]) -> Callable[[str], int]:
    return lambda name: order.index(name) if name in order else len(order)


def _options_of(app: App, chain: Sequence[str]) -> list[str]:
    for name in chain:
        app = app[name]
    arguments = app.assemble_argument_collection() if app.default_command else []
    return [name for argument in arguments if argument.parse for name in argument.names if name.startswith("-")]


def _answer(typed: str, options: list[str]) -> str:
    ours = AUTHORS_OPTIONS.get(typed.lstrip("-"))
    if ours is not None and (not ours.startswith("--") or ours.split()[0] in options):
        return f" In place of {typed} of the authors' code, give {ours}."
    near = nearest(typed, options)
    return f" Did you mean {near}?" if near else ""


def nearest(typed: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant: most of its letters agree, and it begins alike or is a slip away."""
    known = list(names)
    same = {name.replace("-", "").lower(): name for name in known}
    plain = typed.replace("-", "").replace("_", "").lower()
    if plain in same:
        return same[plain]
    for near in difflib.get_close_matches(plain, list(same), n=1, cutoff=0.7):
        return same[near]
    beginning = [name for key, name in same.items() if key.startswith(plain) and len(plain) >= 3]
    return beginning[0] if len(beginning) == 1 else None
