"""CoGAN on two kinds of handwritten digits, USPS and MNIST: do the two digits of a generated pair agree?

    python examples/cogan_digits.py --usps usps.npz --mnist-images t10k-images-idx3-ubyte.gz \\
        --mnist-labels t10k-labels-idx1-ubyte.gz --out digits

Nothing tells the training which digit is which. The script writes two folders of images, trains, and lets a classifier
of each domain, trained on real labelled digits, name both digits of each generated pair. It prints how often they agree
next to chance, translates held-out USPS digits into MNIST's style, and draws pairs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import unpaired

SIDE = 28
"""Of all images, in pixels."""
USPS_SIDE = 20
"""USPS digits fill their 16 x 16 pixels; MNIST's were fitted into 20 x 20 pixels in the middle of 28 x 28."""
MNIST_TRAINING = 8000
"""The first so many of the 10,000 are trained on."""
BATCH = 500


@dataclass(frozen=True)
class Digits:
    """Labelled digits of one domain: images [N, 28, 28] uint8, labels [N]; those to learn from and those held out."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    held_out_images: NDArray[np.uint8]
    held_out_labels: NDArray[np.int64]


# -------------------------------------------------------------------------------------------------------------- data


def read_usps(path: Path) -> Digits:
    """Read 16 x 16 digits with values in [0, 1] and bring them to MNIST's layout."""
    with np.load(path) as file:
        images, labels = file["train_data"], file["train_target"]
        held_out, held_out_labels = file["test_data"], file["test_target"]
    return Digits(_framed(images), labels.astype(np.int64), _framed(held_out), held_out_labels.astype(np.int64))


def _framed(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    framed = np.zeros((len(values), SIDE, SIDE), np.uint8)
    edge = (SIDE - USPS_SIDE) // 2
    for number, digit in enumerate(values.reshape(-1, 16, 16)):
        small = Image.fromarray((digit * 255).round().astype(np.uint8))
        large = small.resize((USPS_SIDE, USPS_SIDE), Image.Resampling.BICUBIC)
        framed[number, edge:-edge, edge:-edge] = np.asarray(large)
    return framed


def read_mnist(images: Path, labels: Path) -> Digits:
    """Read the two IDX files."""
    pixels, classes = read_idx(images), read_idx(labels).astype(np.int64)
    split = MNIST_TRAINING
    return Digits(pixels[:split], classes[:split], pixels[split:], classes[split:])


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: 0, 0, 8, the number of dimensions, each dimension in 4 bytes, the values."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise SystemExit(f"{path} is not an IDX file of bytes.")
    dimensions = np.frombuffer(content, ">u4", content[3], 4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(dimensions)


def write_folder(images: NDArray[np.uint8], folder: Path) -> Path:
    """Write grey PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:05d}.png")
    return folder


def signed(images: NDArray[np.uint8]) -> Tensor:
    """Return [N, 28, 28] in 0..255 as [N, 1, 28, 28] in [-1, 1]."""
    return torch.from_numpy(images.astype(np.float32))[:, None] / 127.5 - 1


# ------------------------------------------------------------------------------------------------------- classifiers


def train_classifier(digits: Digits, *, epochs: int = 6) -> tuple[nn.Module, float]:
    """Return a small convolutional classifier and its accuracy on held-out digits."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 24, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(24, 48, 5, stride=2, padding=2), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 49, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10)),
    )
    images, labels = signed(digits.images), torch.from_numpy(digits.labels)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
    found = classify(network.eval(), signed(digits.held_out_images))
    return network, float((found == digits.held_out_labels).mean())


@torch.no_grad()
def classify(network: nn.Module, images: Tensor) -> NDArray[np.int64]:
    """Name the digits in [N, 1, 28, 28]."""
    return torch.cat([network(part).argmax(1) for part in images.split(BATCH)]).numpy()


# ------------------------------------------------------------------------------------------------------ measurements


def agreement(first: NDArray[np.int64], second: NDArray[np.int64]) -> dict[str, float]:
    """Return the share of pairs of one class, its 95 % interval (Wilson), and what chance would give.

    Chance: the share for pairs put together at random from the same two sets of digits.
    """
    count, share = len(first), float((first == second).mean())
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    shares = [np.bincount(classes, minlength=10) / count for classes in (first, second)]
    return {"share": share, "low": middle - half, "high": middle + half, "chance": float(shares[0] @ shares[1])}


def translate(model: Path, digits: Digits, judge: nn.Module, count: int) -> dict[str, float]:
    """Translate held-out digits from A to B and return how often the class survives, and what the search left over."""
    translator = unpaired.Translator.load(model, "a2b", device="cpu")
    chosen = np.random.default_rng(0).permutation(len(digits.held_out_images))[:count]
    right, errors = 0, []
    for start in range(0, count, 10):
        rows = chosen[start : start + 10]
        translated = translator(signed(digits.held_out_images[rows]))
        right += int((classify(judge, translated) == digits.held_out_labels[rows]).sum())
        assert translator.search is not None
        errors += [error.l1 for error in translator.search.last_errors]
    untouched = classify(judge, signed(digits.held_out_images[chosen]))
    return {
        "accuracy": right / count,
        "untranslated": float((untouched == digits.held_out_labels[chosen]).mean()),
        "error": float(np.mean(errors)),
        "worst_error": float(np.max(errors)),
    }


def draw(pairs: tuple[Tensor, Tensor], path: Path, *, columns: int = 20, rows: int = 5, scale: int = 2) -> None:
    """Draw the first pairs: each digit of A above its digit of B."""
    count, gap = columns * rows, 3
    step = 2 * SIDE + gap
    sheet = np.full((rows * step - gap, columns * (SIDE + 1) - 1), 255, np.uint8)
    for number in range(count):
        upper, left = number // columns * step, number % columns * (SIDE + 1)
        for row, images in enumerate(pairs):
            digit = ((images[number, 0] + 1) * 127.5).round().byte().numpy()
            sheet[upper + row * SIDE : upper + (row + 1) * SIDE, left : left + SIDE] = digit
    picture = Image.fromarray(sheet)
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    picture.quantize(16).save(path, optimize=True)


# --------------------------------------------------------------------------------------------------------------- main


def settings(images: int, seed: int) -> dict[str, object]:
    """Return the settings of the training; all else is CoGAN's default."""
    return {
        "method.generator.width": 32,
        "method.discriminator.width": 32,
        "data.crop_size": SIDE,
        "data.load_size": SIDE,
        "training.batch_size": 64,
        "training.epochs": 1 + images // 8000,
        "training.max_images": images,
        "training.seed": seed,
        "training.threads": 1,
        "training.precision": "fp32",
        "training.num_samples": 8,
        "training.checkpoint_every_images": 64_000,
        "training.sample_every_images": 32_000,
        "training.log_every_images": 3200,
    }


def main() -> None:
    """Write the images, train, and print what was measured."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("usps", "mnist-images", "mnist-labels", "out"):
        options.add_argument(f"--{name}", type=Path, required=True)
    options.add_argument("--images", type=int, default=320_000, help="training images per domain")
    options.add_argument("--pairs", type=int, default=2000, help="generated pairs that are measured")
    options.add_argument("--digits", type=int, default=100, help="held-out USPS digits that are translated")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()

    usps, mnist = read_usps(given.usps), read_mnist(given.mnist_images, given.mnist_labels)
    run = given.out / "run"
    if run.exists():
        result = unpaired.train(resume=run)
    else:
        folders = [write_folder(d.images, given.out / name) for d, name in ((usps, "usps"), (mnist, "mnist"))]
        chosen = settings(given.images, given.seed)
        result = unpaired.train("cogan", a=folders[0], b=folders[1], out=run, settings=chosen)
    if result.state == "interrupted":
        raise SystemExit("interrupted; the same command goes on.")
    torch.set_num_threads(1)
    (judge_a, accuracy_a), (judge_b, accuracy_b) = train_classifier(usps), train_classifier(mnist)
    search = unpaired.Translator.load(run, device="cpu").search
    assert search is not None
    pairs = search.generate(given.pairs, seed=1)
    draw(pairs, given.out / "pairs.png")
    found = agreement(classify(judge_a, pairs[0]), classify(judge_b, pairs[1]))
    translated = translate(run, usps, judge_b, given.digits)
    print(f"classifiers on held-out real digits: USPS {accuracy_a:.1%}, MNIST {accuracy_b:.1%}")
    print(
        f"pairs of one class: {found['share']:.1%} of {given.pairs} (95 % interval {found['low']:.1%} to "
        f"{found['high']:.1%}); by chance {found['chance']:.1%}"
    )
    print(
        f"{given.digits} held-out USPS digits translated to MNIST: {translated['accuracy']:.1%} keep their class "
        f"(untranslated, the same classifier names {translated['untranslated']:.1%}); remaining error of the search "
        f"{translated['error']:.3f} on average, {translated['worst_error']:.3f} at worst, in a range of 2"
    )
    content = {"classifiers": [accuracy_a, accuracy_b], "agreement": found, "translation": translated}
    (given.out / "figures.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
