"""`unpaired train auto` and the methods at the same budget on four sets, judged on images of their own.

    python benchmarks/auto.py WORK --data DATA [--budget 12] [--size 32] [--seeds 0,1,2] [--only auto,cut]
    python benchmarks/auto.py WORK --data DATA --sets horse2zebra --only cyclegan,cut,dclgan --select \
        --size 64 --width 16 --blocks 6 --layers 3 --budget 60

DATA holds `horse2zebra`, `camvid`, `facades` and `digits` as `prepare_*` reads them. Every training may take `--budget`
CPU seconds of steps; probes count. CPU seconds and not time, so that a busy machine does not distort it: what an image
costs a method is measured on each set first, all methods in turn, and kept in WORK/costs.json; it gives every method
its number of images. All methods have the same small networks and batches of one image. With `--select` trainings are
evaluated five times, which is not counted, and the checkpoint with the least kernel distance is judged beside the last.
Held-out images are parted beforehand: probes and the choice of checkpoints see `testA` and `testB` of WORK/data, and
all figures are of others, those of WORK/report.

Interrupted? Give the same command again. WORK/table.md has the results, WORK/pictures.png the first seed's pictures.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import unpaired
from unpaired.core.given import Given
from unpaired.evaluation.options import Options
from unpaired.methods import Batch, ImageShapes, find_method
from unpaired.plan.probes import unrelated_distance
from unpaired.training.settings import read_file, resolve
from unpaired.training.trainer import Trainer

RECORDS = Path(__file__).parent / "records" / "cpu64"
VARIANTS: dict[str, dict[str, Any]] = {
    "cyclegan": {},
    "cut": {},
    "fastcut": {},
    "cut-attention": {"method.name": "cut", "method.queries": "attention"},
    "cut-hard": {"method.name": "cut", "method.negatives": "hard", "method.nce_weight": 0.1},
    "dclgan": {},
    "unsb": {"method.generator": {"family": "bridge_resnet"}},
    "cyclegan-vit": {"method.name": "cyclegan", "method.generator": {"family": "vit_unet"}},
    "stegogan": {},
    **{f"recipe-{name}": dict(read_file(RECORDS / name / "settings.toml").values) for name in ("fast", "best")},
}
"""What can be trained: methods, and settings beyond the shared ones; of a recipe the networks of its record too."""
AUTO = "auto"
METRICS = ("kernel", "swd", "structure_edges")
PALETTE = np.array(
    [
        *([128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [0, 0, 192], [128, 128, 0], [192, 128, 128]),
        *([64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192], [0, 0, 0]),
    ],
    np.uint8,
)
"""Colours of CamVid's classes 0 to 10 and void."""
Images = Iterable[Image.Image]


# ---------------------------------------------------------------------------------------------------------------- data


def prepare_horse2zebra(data: Path) -> dict[str, Images]:
    """Photos of horses (A) and zebras (B)."""
    return {part: _open(sorted((data / "horse2zebra" / part).glob("*"))) for part in PARTS}


def prepare_camvid(data: Path) -> dict[str, Images]:
    """Coloured label maps (A) and photos (B) of different frames of street scenes."""
    found: dict[str, Images] = {}
    for part in ("train", "test"):
        labels, photos = (sorted((data / "camvid" / f"{part}{kind}").glob("*")) for kind in ("annot", ""))
        half = len(photos) // 2
        found[f"{part}A"] = (Image.fromarray(PALETTE[np.array(Image.open(path))]) for path in labels[:half])
        found[f"{part}B"] = _open(photos[half:])
    return found


def prepare_facades(data: Path) -> dict[str, Images]:
    """Label maps (A) and photos (B) of different houses."""
    found: dict[str, Images] = {}
    train, test = (sorted((data / "facades" / part).glob("*")) for part in ("train", "test"))
    for part, files in (("train", train[:280]), ("test", train[280:] + test)):  # the set has too few test images
        half = len(files) // 2
        found[f"{part}A"] = (image.crop((256, 0, 512, 256)) for image in _open(files[:half]))
        found[f"{part}B"] = (image.crop((0, 0, 256, 256)) for image in _open(files[half:]))
    return found


def prepare_digits(data: Path) -> dict[str, Images]:
    """USPS (A) and MNIST (B)."""
    usps = np.load(data / "digits" / "usps.npz")
    mnist = gzip.decompress(next((data / "digits").glob("t10k-images*.gz")).read_bytes())
    b = np.frombuffer(mnist, np.uint8, offset=16).reshape(-1, 28, 28)
    a = {part: (usps[f"{part}_data"].reshape(-1, 16, 16) * 255).round().astype(np.uint8) for part in ("train", "test")}
    return {
        "trainA": map(Image.fromarray, a["train"]),
        "trainB": map(Image.fromarray, b[:5000]),
        "testA": map(Image.fromarray, a["test"]),
        "testB": map(Image.fromarray, b[5000:]),
    }


PARTS = {"trainA": 400, "trainB": 400, "testA": 120, "testB": 120}
"""At most so many images of each."""
REPORT = 60
"""Of the test images, those that report."""
MEASURED = {
    "training.evaluate_images": 40,
    "training.select_on": "all",
    "training.evaluate_features": "lite0",
}
"""How trainings are evaluated, on all held-out images but those that report."""
SETS: dict[str, Callable[[Path], dict[str, Images]]] = {
    "horse2zebra": prepare_horse2zebra,
    "digits": prepare_digits,
    "facades": prepare_facades,
    "camvid": prepare_camvid,
}


def _open(paths: Iterable[Path]) -> Iterator[Image.Image]:
    for path in paths:
        yield Image.open(path).convert("RGB")


def prepare(work: Path, data: Path, size: int) -> None:
    """Write the sets at the size of training; names of A and B differ, so that nothing pairs them."""
    for name, read in SETS.items():
        if (work / "data" / name / "done").exists():
            continue
        for part, images in read(data).items():
            for number, image in zip(range(PARTS[part]), images, strict=False):
                reports = part.startswith("test") and number < REPORT
                folder = work / ("report" if reports else "data") / name / part
                folder.mkdir(parents=True, exist_ok=True)
                small = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
                small.save(folder / f"{part[-1].lower()}{number:04d}.png")
        (work / "data" / name / "done").touch()


# ------------------------------------------------------------------------------------------------------------ trainings


def settings_of(name: str, args: argparse.Namespace, seed: int = 0, variant: str = AUTO) -> dict[str, Any]:
    """Return what all methods share, and what a variant has of its own."""
    own = dict(VARIANTS.get(variant, {}))
    generator = {"family": "resnet", "width": args.width, "blocks": args.blocks} | own.pop("method.generator", {})
    if generator["family"] == "vit_unet":
        generator |= {"depth": 2, "tokens": 96, "heads": 4}
    shared = {
        **({} if variant == AUTO else {"method.name": variant}),
        "data.root": str(args.work / "data" / name),
        "data.crop_size": args.size,
        "data.workers": 0,
        "method.generator": generator,
        "method.discriminator": {"family": "patchgan", "layers": args.layers, "width": args.width},
        "training.batch_size": 1,
        "training.seed": seed,
        "training.threads": 1,
        "training.tensorboard": False,
    }
    if "method.generator.family" in own:  # a file's, which names its networks
        del shared["method.generator"], shared["method.discriminator"]
    return shared | own


def measure_costs(args: argparse.Namespace, names: list[str], rounds: int = 12) -> dict[str, dict[str, float]]:
    """Return the CPU seconds of an image by set and method, the median over rounds of all methods in turn."""
    path = args.work / "costs.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    costs: dict[str, dict[str, float]] = {}
    for name in args.sets:
        steps = {method: _steps(name, method, args, 1 if name == "digits" else 3) for method in names}
        taken: dict[str, list[float]] = {method: [] for method in names}
        for _ in range(rounds):
            for method, step in steps.items():
                begun = time.process_time()
                step()
                taken[method].append((time.process_time() - begun) / VARIANTS[method].get("training.batch_size", 1))
        costs[name] = {method: statistics.median(times[2:]) for method, times in taken.items()}
        print(f"{name}: CPU seconds per image { ({method: round(cost, 4) for method, cost in costs[name].items()}) }")
    path.write_text(json.dumps(costs, indent=2))
    return costs


def _steps(name: str, method: str, args: argparse.Namespace, channels: int) -> Callable[[], object]:
    config = resolve([Given(settings_of(name, args, 0, method), "{name}")])
    shapes = ImageShapes(channels_a=channels, channels_b=channels, size=(args.size, args.size))
    kind = find_method(config.method)
    settings, _ = kind.adapt(config.settings, shapes, config.chosen_settings())
    trainer = Trainer(kind(settings, shapes), config.training, torch.device("cpu"))
    random = torch.Generator().manual_seed(0)
    batch = config.training.batch_size
    images = torch.rand(2, batch, channels, args.size, args.size, generator=random) * 2 - 1
    stream = itertools.repeat(Batch(images[0], images[1]))  # UNSB takes two in a step
    return lambda: trainer.step(iter(stream))


def train(name: str, method: str, seed: int, args: argparse.Namespace, costs: dict[str, float]) -> None:
    """Train and measure, unless that was done; what it took and gave is kept beside the run."""
    work = args.work
    run = work / "runs" / name / f"{method}-seed{seed}"
    path = run.with_suffix(".json")
    if path.exists():
        return
    settings = settings_of(name, args, seed, method)
    begun = time.process_time()
    if method == AUTO:
        from unpaired.plan import auto, make

        # One cost for all: what is timed at another moment, under another load, is another budget.
        vars(auto)["seconds_per_image"] = vars(make)["seconds_per_image"] = lambda config, _: costs[config.method]
        vars(auto)["Options"] = functools.partial(Options, metrics="swd")  # it is measured on other images, later
        settings |= MEASURED | {"training.evaluate_every_images": 1_000_000}
        budget = f"{args.budget:g}s"
        result = unpaired.train("auto", out=run, budget=budget, settings=settings, resume="auto", quiet=True)
    else:
        images = round(args.budget / costs[method])
        epochs = -(-images // max(len(list((work / "data" / name / f"train{side}").glob("*.png"))) for side in "AB"))
        share = 0.25 if method == "fastcut" else 0.5  # of the epochs with a falling learning rate, as published
        decay = int(epochs * share)
        length = {"epochs": epochs - decay, "decay_epochs": decay, "max_images": images}
        settings |= {f"training.{setting}": value for setting, value in length.items()}
        settings |= MEASURED if args.select else {"training.evaluate_images": 0}
        if args.select:
            settings["training.evaluate_every_images"] = settings["training.checkpoint_every_images"] = -(-images // 5)
        result = unpaired.train(settings.pop("method.name"), out=run, settings=settings, resume="auto", quiet=True)
    if result.state != "finished":
        raise KeyboardInterrupt
    took = time.process_time() - begun
    found = {"images": result.images_seen, "cpu_seconds": took}
    if method == AUTO:
        found["method"] = json.loads((run / "config.json").read_text())["method"]["name"]
    path.write_text(json.dumps(found, indent=2))
    print(f"{name} {method} seed {seed}: {result.images_seen} images, {took:.0f} CPU s", flush=True)


def judged(work: Path, name: str, run: Path, checkpoint: str = "last") -> dict[str, float]:
    """Return the figures of A to B of a checkpoint on the images that report; they are kept beside the run."""
    path = run.with_name(f"{run.name}-{'figures' if checkpoint == 'last' else checkpoint}.json")
    if path.exists():
        return dict(json.loads(path.read_text()))
    data = work / "report" / name
    for part in ("trainA", "trainB"):  # a data set has both; these are not looked at
        if not (data / part).exists():
            (data / part).symlink_to((work / "data" / name / part).resolve())
    named = ",".join(METRICS)
    found = unpaired.evaluate(run, data=data, checkpoint=checkpoint, direction="a2b", metrics=named, bounds=False)
    figures = {one.name: one.value for one in found.directions["a2b"].figures if one.name in METRICS and one.value}
    path.write_text(json.dumps(figures, indent=2))
    print(run, {metric: round(value, 4) for metric, value in figures.items()}, flush=True)
    return figures


# --------------------------------------------------------------------------------------------------------------- result


def table(args: argparse.Namespace, names: list[str], seeds: list[int], checkpoint: str = "last") -> str:
    """Return mean and standard deviation over seeds of every set and method, and how far `auto` is from the best."""
    lines, methods = [], [name for name in names if name != AUTO]
    for metric in ("kernel", "swd", "kept"):
        lines += [
            f"\n{metric}, {checkpoint} checkpoint",
            "",
            f"| set | {' | '.join(names)} | auto chose | auto - best | spread |",
        ]
        lines.append("| --- |" + " ---: |" * len(names) + " --- | ---: | ---: |")
        for name in args.sets:
            found = {method: _found(args, name, method, seeds, checkpoint) for method in names}
            values = {method: [one["figures"][metric] for one in each] for method, each in found.items() if each}
            means = {method: statistics.mean(each) for method, each in values.items()}
            spread = {method: statistics.stdev(each) if len(each) > 1 else 0.0 for method, each in values.items()}
            cells = [f"{means[m]:.4g} ± {spread[m]:.2g}" if m in means else "" for m in names]
            ranked = sorted((m for m in methods if m in means), key=means.__getitem__, reverse=metric == "kept")
            best = next(iter(ranked), None)
            if best and AUTO in means:
                cells.append(", ".join(one["method"] for one in found[AUTO]))
                cells += [f"{means[AUTO] - means[best]:+.4f}", f"{max(spread[best], spread[AUTO]):.4f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def methods_table(args: argparse.Namespace, names: list[str], seeds: list[int], checkpoints: tuple[str, ...]) -> str:
    """Return a table of each set, one row for a method: mean and standard deviation over seeds of each checkpoint."""
    titles = [f"{metric}, {checkpoint}" for metric in ("kernel", "swd", "kept") for checkpoint in checkpoints]
    lines = []
    for name in args.sets:
        lines += [
            f"\n{name}",
            "",
            f"| method | images | {' | '.join(titles)} |",
            "| --- |" + " ---: |" * (len(titles) + 1),
        ]
        for method in names:
            found = {checkpoint: _found(args, name, method, seeds, checkpoint) for checkpoint in checkpoints}
            cells = [f"{one['images']:,}" for one in found[checkpoints[0]][:1]]
            for metric, checkpoint in itertools.product(("kernel", "swd", "kept"), checkpoints):
                values = [one["figures"][metric] for one in found[checkpoint]]
                spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.3g}{spread}" if values else "")
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _found(args: argparse.Namespace, name: str, method: str, seeds: list[int], checkpoint: str) -> list[dict[str, Any]]:
    paths = [args.work / "runs" / name / f"{method}-seed{seed}.json" for seed in seeds]
    found = []
    for path in (path for path in paths if path.exists()):
        figures = judged(args.work, name, path.with_suffix(""), checkpoint)
        figures["kept"] = 1 - figures.pop("structure_edges") / _unrelated(args, name)
        found.append({**json.loads(path.read_text()), "figures": figures})
    return found


def _unrelated(args: argparse.Namespace, name: str) -> float:
    """Return the edge distance of inputs and unrelated images of the target, of those that report."""
    settings = settings_of(name, args) | {"data.root": str(args.work / "report" / name)}
    distance = unrelated_distance(resolve([Given(settings, "{name}")]), "a2b")
    assert distance is not None
    return distance


def pictures(args: argparse.Namespace, names: list[str], rows: int = 4) -> None:
    """Write inputs and the first seed's translations, side by side; one block of rows for each set."""
    blocks = []
    for name in args.sets:
        paths = sorted((args.work / "report" / name / "testA").glob("*.png"))
        chosen = [Image.open(paths[number * len(paths) // rows]) for number in range(rows)]
        columns = [[np.asarray(image.convert("RGB")) for image in chosen]]
        for method in names:
            run = args.work / "runs" / name / f"{method}-seed0"
            if not run.with_suffix(".json").exists():
                continue
            translator = unpaired.Translator.load(run, checkpoint="last", direction="a2b")
            made = [np.asarray(translator(np.asarray(image))) for image in chosen]
            columns.append(
                [np.repeat(m.reshape(*m.shape[:2], -1), 3 // m.reshape(*m.shape[:2], -1).shape[2], 2) for m in made]
            )
        blocks.append(np.concatenate([np.concatenate(column, 1) for column in columns], 0))
    whole = Image.fromarray(np.concatenate(blocks, 1))
    shown = (whole.width * 64 // args.size, whole.height * 64 // args.size)
    whole.resize(shown, Image.Resampling.NEAREST).save(args.work / "pictures.png")


def main() -> None:
    """Train what is missing, and write the table and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=12.0, help="CPU seconds of training")
    parser.add_argument("--size", type=int, default=32, help="pixels")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--train-only", action="store_true", help="measure nothing yet")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--only", default="cyclegan,cut,fastcut,auto", help=f"of {', '.join([*VARIANTS, AUTO])}")
    parser.add_argument("--select", action="store_true", help="judge the selected checkpoint as well")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--layers", type=int, default=2, help="of the discriminators")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seeds, names = [int(seed) for seed in args.seeds.split(",")], args.only.split(",")
    args.sets = tuple(args.sets.split(","))
    prepare(args.work, args.data, args.size)
    costs = measure_costs(args, [name for name in names if name != AUTO])
    for seed, name, method in itertools.product(seeds, args.sets, names):
        train(name, method, seed, args, costs[name])
    if not args.train_only:
        checkpoints = ("last", "best") if args.select else ("last",)
        if AUTO in names:
            text = "".join(table(args, names, seeds, checkpoint) for checkpoint in checkpoints)
        else:
            text = methods_table(args, names, seeds, checkpoints)
        (args.work / "table.md").write_text(text)
        pictures(args, names)
        print(text)


if __name__ == "__main__":
    main()
