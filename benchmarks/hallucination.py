"""Domains of known truth, small translators between them, and what the audit finds of them (docs/audit.md).

    python benchmarks/hallucination.py --out invented [--shares 0 15 30 50 65] [--seeds 0 1] [--kind apart]

Domain A is drawn as photos of ground with houses and ponds, domain B as maps of such scenes, and a share of the maps
has a red title at its top. No photo has one: whatever title a translated photo shows is invented (the setting of Cohen
et al. 2018 and of StegoGAN, Wu et al. 2024). What is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

import unpaired
from unpaired.audit.audit import audit
from unpaired.audit.options import AuditOptions
from unpaired.audit.plant import drawn
from unpaired.audit.planted import measure_planted
from unpaired.metrics.features import open_features
from unpaired.metrics.kernel import kernel_distance
from unpaired.metrics.paired import ssim
from unpaired.metrics.sliced import Patches, sliced_wasserstein

Pixels = NDArray[np.uint8]
Kind = Literal["titles", "in-place", "apart"]
SIZE = 24
CLASSES = ("ground", "house", "pond", "title")
TITLE = CLASSES.index("title")
PHOTO = ((92, 108, 70), (160, 148, 140), (40, 62, 104), (150, 60, 50))
MAP = ((190, 208, 150), (244, 226, 190), (110, 160, 226), (222, 40, 60))
"""Colours of the classes in photos and in maps."""
COUNTS = {"train": 200, "test": 60}


def draw_classes(rng: np.random.Generator, *, title: bool, kind: Kind = "titles") -> Pixels:
    """Return the classes of one scene, [H, W]: one or two houses and one or two ponds, below the place of a title.

    Of the kind `in-place` the class that photos lack has the shape of ponds, and stands where they would. Of the kind
    `apart` there are one pond and two to four houses, which are smaller, so that they are not exchanged as easily.
    """
    canvas = Image.new("L", (4 * SIZE, 4 * SIZE), 0)
    draw = ImageDraw.Draw(canvas)

    def box(width: float, height: float) -> tuple[float, float, float, float]:
        x, y = rng.uniform(4, 4 * SIZE - 4 - 4 * width), rng.uniform(24, 4 * SIZE - 4 - 4 * height)
        return x, y, x + 4 * width, y + 4 * height

    apart, in_place = kind == "apart", kind == "in-place"
    for _ in range(1 if apart else rng.integers(1, 3)):
        side = rng.uniform(9, 12) if apart else rng.uniform(6, 9)
        draw.ellipse(box(side, side), fill=TITLE if title and in_place else 2)
    for _ in range(rng.integers(2, 5) if apart else rng.integers(1, 3)):
        draw.rectangle(box(*(rng.uniform(3, 6, 2) if apart else rng.uniform(5, 8, 2))), fill=1)
    if title and not in_place:
        draw.rectangle((8, 4, 4 * SIZE - 9, 19), fill=TITLE)
    return np.asarray(canvas)[2::4, 2::4].copy()


def render(classes: Pixels, rng: np.random.Generator, *, photo: bool) -> Pixels:
    """Return a scene as a photo (uneven light, grain, shades of its own) or as a map (flat colours), [H, W, 3]."""
    picture = np.array(PHOTO if photo else MAP, np.float64)[classes]
    if photo:
        coarse = Image.fromarray(rng.normal(size=(6, 6)).astype(np.float32))
        light = 1 + 0.08 * np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        picture = picture * light[..., None] * rng.uniform(0.88, 1.12) + rng.normal(0, 7, (SIZE, SIZE, 1))
    picture += rng.normal(0, 2, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def scenes(folder: str, share: int, seed: int = 0, *, kind: Kind = "titles") -> Iterator[tuple[Pixels, Pixels]]:
    """Yield (picture, classes) of trainA, trainB, testA or testB; `share` is the percentage of maps with titles."""
    split, photo = folder[:-1], folder[-1] == "A"
    count = COUNTS[split]
    rng = np.random.default_rng([seed, split == "test", photo])
    for number in range(count):
        # Spread evenly, so that every share is exact; the draws are the same for every share.
        title = not photo and (number * share) // 100 != ((number + 1) * share) // 100
        own = np.random.default_rng(rng.integers(2**32, size=4))
        classes = draw_classes(own, title=title, kind=kind)
        yield render(classes, own, photo=photo), classes


def write_domains(root: Path, share: int, *, kind: Kind = "titles") -> Path:
    """Write ROOT/trainA/000.png and so on, and the classes of the test photos as ROOT/classesA/000.png."""
    for folder in ("trainA", "trainB", "testA", "testB"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number, (picture, classes) in enumerate(scenes(folder, share, kind=kind)):
            Image.fromarray(picture).save(root / folder / f"{number:03d}.png")
            if folder == "testA":
                (root / "classesA").mkdir(exist_ok=True)
                Image.fromarray(classes).save(root / "classesA" / f"{number:03d}.png")
    return root


SETTINGS: dict[str, Any] = {
    "data.crop_size": SIZE,
    "data.load_size": SIZE,
    "method.generator.width": 16,
    "method.generator.blocks": 1,
    "method.discriminator.width": 16,
    "method.discriminator.layers": 2,
    "method.identity_weight": 0.0,
    "method.cycle_weight": 5.0,
    "training.batch_size": 4,
    "training.learning_rate": 8e-4,
    "training.threads": 1,
    "training.device": "cpu",
    "training.precision": "fp32",
    "training.tensorboard": False,
    "training.evaluate_images": 0,
    "training.num_samples": 2,
}


def train(out: Path, method: str, share: int, seed: int, images: int, *, kind: Kind = "titles") -> Path:
    """Train one small model and return its run; what is finished is kept, what was interrupted goes on."""
    run = out / "runs" / f"{method}-{share}-{seed}"
    if not (run / "checkpoints" / f"{images:09d}").exists():
        data = write_domains(out / "data" / str(share), share, kind=kind)
        epochs = images // (2 * COUNTS["train"])
        own = {"training.seed": seed, "training.epochs": epochs, "training.decay_epochs": epochs}
        often = {"training.sample_every_images": images, "training.checkpoint_every_images": images // 2}
        if run.exists():
            unpaired.train(resume=run, quiet=True)
        else:
            unpaired.train(method, data=data, out=run, settings={**SETTINGS, **own, **often}, quiet=True)
    return run


# ------------------------------------------------------------------------------------------------------- what is found


def train_segmenter(out: Path, side: str, kind: Kind = "titles") -> Path:
    """Train a small segmenter of drawn photos or maps, with labels, and return its folder."""
    folder, data = out / f"segmenter-{side}", out / f"labelled-{side}"
    if not folder.exists():
        for split in ("train", "test"):
            for name in (split, f"{split}-labels"):
                (data / name).mkdir(parents=True, exist_ok=True)
            for number, (picture, classes) in enumerate(scenes(split + side.upper(), 50, seed=1, kind=kind)):
                Image.fromarray(picture).save(data / split / f"{number:03d}.png")
                Image.fromarray(classes).save(data / f"{split}-labels" / f"{number:03d}.png")
        command = [sys.executable, "-m", "unpaired", "segment", "train", "--out", str(folder), "--quiet"]
        command += ["--photos", str(data / "train"), "--labels", str(data / "train-labels"), "--size", str(SIZE)]
        command += ["--test-photos", str(data / "test"), "--test-labels", str(data / "test-labels")]
        command += ["--images", "3200", "--batch-size", "16", "--device", "cpu", "--set", "segmenter.network=unet"]
        command += ["--set", "data.labels_a.kind=index", "--set", "data.labels_a.names=" + json.dumps(CLASSES)]
        command += ["--set", "segmenter.learning_rate=3e-3", "--set", "segmenter.threads=1"]
        subprocess.run(command, check=True)
    return folder


Translate = Callable[[Tensor], Tensor]


class Stack:
    """Images [N, C, H, W] in [-1, 1], by number."""

    def __init__(self, pictures: Sequence[Pixels]) -> None:
        self.images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Return those of these numbers."""
        return self.images[list(numbers)]

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """Features of all, of EfficientNet-Lite0."""
        return open_features("lite0")(self.images).numpy()


def measured(
    translate: Translate, photos: Stack, classes: Pixels, true: Stack, reals: dict[str, Stack]
) -> dict[str, float]:
    """Return what is known of a translator (`true ...`) and what the usual metrics and planted structures say of it.

    `true` are the maps of the photos, `reals` other maps: of the largest share, and of none.
    """
    made = translate(photos.images).clamp(-1, 1)
    levels = (made.permute(0, 2, 3, 1).numpy() + 1) * 127.5
    nearest = np.square(levels[..., None, :] - np.array(MAP, np.float64)).sum(-1).argmin(-1)
    distances, features = dict[str, float](), open_features("lite0")(made).numpy()
    for name, real in reals.items():
        patches = [Patches(), Patches()]
        for each, images in zip(patches, (real.images, made), strict=True):
            each.add(images)
        distances[f"SWD{name}"] = sliced_wasserstein(*patches).mean
        distances[f"kernel distance{name}"] = kernel_distance(real.features, features).value
    views = {"input": lambda images: images, "translation": lambda images: translate(images).clamp(-1, 1)}
    planted = measure_planted(views, photos, drawn([6]), (0.15, 0.2), seed=0)
    return {
        "true invented": float((nearest == TITLE).mean()),
        "true errors": float((nearest != classes).mean()),
        "SSIM to the true maps": float(ssim(made, true.images).mean()),
        "SSIM to the input": float(ssim(made, photos.images).mean()),
        **distances,
        "planted AUC": planted.views["translation"].area().value,
        "planted AUC, input": planted.views["input"].area().value,
    }


def made_translators() -> dict[str, Translate]:
    """Return translators of known truth, made by a rule that knows the colours of the classes."""
    photo, colours = (torch.tensor(each[:TITLE]) / 127.5 - 1 for each in (PHOTO, MAP))
    title = torch.tensor(MAP[TITLE]).view(3, 1, 1) / 127.5 - 1

    def classes(images: Tensor) -> Tensor:
        means = nnf.avg_pool2d(nnf.pad(images, (1, 1, 1, 1), mode="reflect"), 3, 1)
        return (means[:, None] - photo.view(1, -1, 3, 1, 1)).square().sum(2).argmin(1)

    def painted(images: Tensor) -> Tensor:
        return colours[classes(images)].permute(0, 3, 1, 2)

    def faithful(images: Tensor) -> Tensor:
        return painted(images) + images - photo[classes(images)].permute(0, 3, 1, 2)

    def titled(images: Tensor) -> Tensor:
        made = painted(images)
        made[torch.arange(len(images)) % 20 < 13, :, 1:5, 2:-2] = title
        return made

    return {"class colours and all detail": faithful, "class colours": painted, "class colours, titles": titled}


def share_of_classes(run: Path, segmenters: dict[str, Path]) -> dict[str, float]:
    """Return what `unpaired audit --checks classes` finds of a run from photos to maps."""
    asked = AuditOptions(
        model=run, direction="a2b", checks="classes", images=COUNTS["test"], device="cpu",
        segmenter_a=segmenters["a"], segmenter_b=segmenters["b"],
    )  # fmt: skip
    found = audit(asked).document.directions["a2b"].figures
    return {figure.name: figure.value for figure in found if figure.value is not None}


COLUMNS = (
    *("true invented", "invented_share", "invented_images", "invented_share_identity", "invented_share_other"),
    *("true errors", "SSIM to the true maps", "SSIM to the input", "SWD", "kernel distance", "planted AUC"),
    *("SWD, no titles", "kernel distance, no titles"),
)


def main() -> None:
    """Train, measure, and print one line for each translator; real maps are of the largest share, and of none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shares", type=int, nargs="+", default=[0, 15, 30, 50, 65])
    parser.add_argument("--remedied", type=int, nargs="+", default=[0, 65], help="shares that stegogan is trained on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--images", type=int, default=1600)
    parser.add_argument("--kind", choices=get_args(Kind), default="titles", help="which scenes: see draw_classes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    test, rng = list(scenes("testA", 0, kind=options.kind)), np.random.default_rng(9)
    photos, classes = Stack([picture for picture, _ in test]), np.stack([each for _, each in test])
    true = Stack([render(each, rng, photo=False) for each in classes])
    reals = {
        name: Stack([picture for picture, _ in scenes("testB", share, kind=options.kind)])
        for name, share in {"": max(options.shares), ", no titles": 0}.items()
    }
    segmenters = {side: train_segmenter(options.out, side, options.kind) for side in "ab"}
    wanted = [("cyclegan", share) for share in options.shares] + [("stegogan", share) for share in options.remedied]
    print("translator", *COLUMNS, sep=" | ")

    def show(name: str, found: dict[str, float]) -> None:
        print(name, *(f"{found[each]:.3f}" if each in found else "-" for each in COLUMNS), sep=" | ", flush=True)

    for name, translate in made_translators().items():
        show(name, measured(translate, photos, classes, true, reals))
    for seed in options.seeds:
        for method, share in wanted:
            run = train(options.out, method, share, seed, options.images, kind=options.kind)
            translator = unpaired.Translator.load(run, "a2b", device="cpu")
            found = measured(translator.translate_tensor, photos, classes, true, reals)
            show(f"{method}, {share} %, seed {seed}", found | share_of_classes(run, segmenters))


if __name__ == "__main__":
    main()
