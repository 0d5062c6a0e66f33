"""Make a record of track CPU-64: train, judge, compare with the authors' code, and write one folder of figures.

    python benchmarks/record.py authors --peer CHECKOUT --data HORSE2ZEBRA --work WORK --images 10000
    python benchmarks/record.py ours --settings NAME.toml --peer CHECKOUT --data HORSE2ZEBRA --work WORK --time 3333
    python benchmarks/record.py table

`benchmarks/records/README.md` has the rules. The first command trains the authors' own code in their own loop, which
is the bar; the second our CycleGAN with a file of settings, for the CPU time that so many images take the authors'
code (3,333: a third of 10,000). Images are those of one domain. Both may be given again after an interruption: what
is there is kept. The table compares all records with the bar.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import unpaired
from unpaired.evaluation.dataset import Batch as Translations
from unpaired.evaluation.metrics import Context, Metric, Need
from unpaired.evaluation.metrics.base import RunningMean
from unpaired.evaluation.metrics.classes import target_side
from unpaired.methods import ImageShapes, find_method
from unpaired.models.convert.files import from_files
from unpaired.report.results import Figure
from unpaired.training.modes import settle
from unpaired.training.settings import read_file, resolve
from unpaired.training.trainer import Trainer

RECORDS = Path(__file__).parent / "records"
TRACKS = {"cpu64": "CPU-64", "cpu64-short": "CPU-64, the short bar"}
BAR = "authors"
SIZE = 64
THEIRS = {"--netG": "resnet_6blocks", "--ngf": "16", "--ndf": "16", "--load_size": "72", "--crop_size": str(SIZE)}
THEIRS |= {"--model": "cycle_gan", "--init_type": "normal", "--gpu_ids": "-1", "--num_threads": "0"}
"""The authors' options of this track; what is not named is their default."""
JUDGE = "kernel,structure_edges,swd,record:ClassScore"
CLASSES = "sorrel,zebra"
COLUMNS = {"kernel": "lower", "class_score": "higher", "structure_edges": "lower", "swd_64": "lower"}
"""What decides, and which way; `class_hit` is shown as well, and is near zero at this size."""
FLOOR = 1.1
"""Kept content and the finest level of SWD may not be worse than the bar's by more than this factor."""


class ClassScore(Metric):
    """Mean probability of the target's class, where hits are too rare to compare trainings, and the hits."""

    name, title, unit, better, group = "class_score", "Probability of the class", "%", "higher", "distribution"
    needs = frozenset({Need.CLASSIFIER})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert context.networks.classifier is not None
        self.classifier = context.networks.classifier.network
        self.numbers = torch.tensor(context.networks.classifier.numbers[target_side(context)])
        self.mean, self.hits = RunningMean(), RunningMean()

    def update(self, batch: Translations) -> None:
        """Add the probabilities and hits of a batch."""
        scores = self.classifier.scores(batch.fake)
        self.mean.add(scores.softmax(1)[:, self.numbers].sum(1).tolist())
        self.hits.add(torch.isin(scores.argmax(1), self.numbers).float().tolist())

    def compute(self) -> list[Figure]:
        """Return both means in percent."""
        found = {self.name: self.mean.mean(), "class_hit": self.hits.mean()}
        return [self.figure(None if value is None else 100 * value, name=name) for name, value in found.items()]


# ---------------------------------------------------------------------------------------------------- the authors' code


def open_authors(checkout: Path, data: str, epochs: int, decay: int) -> tuple[Any, Any, Any]:
    """Return the authors' options, data set and model, made by their own functions."""
    if "torchvision" not in sys.modules:
        from torchvision_stand_in import install

        install()
        sys.path.insert(0, str(checkout))
    own = {**THEIRS, "--dataroot": data, "--n_epochs": str(epochs), "--n_epochs_decay": str(decay)}
    own |= {"--name": "record", "--checkpoints_dir": "/tmp/authors"}
    words, sys.argv = (
        sys.argv,
        ["train.py", "--no_antialias", "--no_antialias_up", *(word for pair in own.items() for word in pair)],
    )
    try:
        options = importlib.import_module("options.train_options").TrainOptions().parse()
    finally:
        sys.argv = words
    options.amp = False
    dataset = importlib.import_module("data").create_dataset(options)
    model = importlib.import_module("models").create_model(options)
    model.setup(options)
    model.parallelize()
    return options, dataset, model


def parts_of(model: Any) -> dict[str, Any]:
    """Return what of the authors' training has a state to save."""
    networks = {f"net{name}": getattr(model, f"net{name}") for name in model.model_names}
    steps = {"optimizers": model.optimizers, "schedulers": model.schedulers}
    numbered = {f"{name}{index}": each for name, several in steps.items() for index, each in enumerate(several)}
    return networks | numbered


def save_state(path: Path, model: Any, **more: Any) -> None:
    """Save the state of the authors' training at the end of an epoch, which their code cannot do."""
    state = {name: part.state_dict() for name, part in parts_of(model).items()} | more
    state |= {"pools": (model.fake_A_pool, model.fake_B_pool)}
    state |= {"random": (random.getstate(), np.random.get_state(), torch.get_rng_state())}
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def load_state(path: Path, model: Any) -> Any:
    """Continue from `save_state`; return what was saved beside the model."""
    state = torch.load(path, weights_only=False)
    for name, part in parts_of(model).items():
        part.load_state_dict(state[name])
    model.fake_A_pool, model.fake_B_pool = state["pools"]
    of_python, of_numpy, of_torch = state["random"]
    random.setstate(of_python)
    np.random.set_state(of_numpy)
    torch.set_rng_state(of_torch)
    return state


def authors_training(arguments: argparse.Namespace, seed: int) -> Iterator[int]:
    """Train as their train.py does, and yield after each snapshot; an interrupted epoch is trained again."""
    folder = arguments.work / arguments.name / f"seed{seed}"
    if (folder / f"{arguments.images}_net_G_B.pth").exists():
        return
    options, dataset, model = open_authors(arguments.peer, arguments.data, *arguments.epochs)
    folder.mkdir(parents=True, exist_ok=True)
    seen, begun, cpu, first = 0, time.process_time(), dict[int, float](), 1
    if (kept := folder / "state.pt").exists():
        state = load_state(kept, model)
        seen, cpu, first = state["seen"], state["cpu"], state["epoch"] + 1
    for epoch in range(first, options.n_epochs + options.n_epochs_decay + 1):
        dataset.set_epoch(epoch)
        for data in dataset:
            model.set_input(data)
            model.optimize_parameters()
            seen += 1
            if seen % arguments.every and seen % len(dataset):
                continue
            cpu[seen] = sum(list(cpu.values())[-1:]) + time.process_time() - begun
            for name in ("G_A", "G_B"):
                network = getattr(model, f"net{name}").module
                torch.save(network.state_dict(), folder / f"{seen}_net_{name}.pth")
            (folder / "times.json").write_text(json.dumps(cpu))
            losses = {name: round(value, 3) for name, value in model.get_current_losses().items()}
            print(f"seed {seed}, {seen} images, {cpu[seen]:.0f} CPU s: {losses}", flush=True)
            yield seen
            if seen >= arguments.images:
                return
            begun = time.process_time()
        model.update_learning_rate()
        save_state(kept, model, seen=seen, cpu=cpu, epoch=epoch)


def train_authors(arguments: argparse.Namespace) -> None:
    """Train all seeds in turn, so that an interrupted bar has the same snapshots of each."""
    trainings, states = {}, {}
    for seed in arguments.seeds:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        trainings[seed] = authors_training(arguments, seed)
        states[seed] = random.getstate(), np.random.get_state(), torch.get_rng_state()
    while trainings:
        for seed, training in list(trainings.items()):
            random.setstate(states[seed][0])
            np.random.set_state(states[seed][1])
            torch.set_rng_state(states[seed][2])
            if next(training, None) is None:
                del trainings[seed]
            states[seed] = random.getstate(), np.random.get_state(), torch.get_rng_state()


# -------------------------------------------------------------------------------------------------------- our training


def step_ratio(arguments: argparse.Namespace, rounds: int = 7) -> dict[str, float]:
    """Return the CPU seconds per image of their step and of ours, in turn, and the median of their ratio."""
    _, _, model = open_authors(arguments.peer, arguments.data, 1, 1)
    config = resolve([read_file(arguments.settings)])
    shapes = ImageShapes(channels_a=3, channels_b=3, size=(SIZE, SIZE))
    kind, device = find_method(config.method), torch.device("cpu")
    training = settle(config.training, device, 256, fixed_sizes=True)
    trainer = Trainer(kind(kind.adapt(config.settings, shapes, config.chosen_settings())[0], shapes), training, device)
    batch = config.training.batch_size
    images = torch.rand(2, batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    stream = iter(lambda: unpaired.methods.Batch(images[0], images[1]), None)
    found = []
    for _ in range(rounds):
        begun = time.process_time()
        for _ in range(4):
            model.set_input({"A": images[0, :1], "B": images[1, :1], "A_paths": "", "B_paths": ""})
            model.optimize_parameters()
        between = time.process_time()
        for _ in range(4):  # some candidates do more in every fourth step
            trainer.step(stream)
        ours = (time.process_time() - between) / 4 / batch
        found.append(((between - begun) / 4, ours))
    theirs, ours = (statistics.median(column) for column in zip(*found[2:], strict=True))
    return {"authors": theirs, "ours": ours, "ratio": statistics.median(a / b for a, b in found[2:])}


def train_ours(arguments: argparse.Namespace, seed: int, images: int) -> tuple[Path, dict[str, float]]:
    """Train with the settings; return the run, and how many images it saw and the CPU seconds that it took."""
    run = arguments.work / arguments.name / f"seed{seed}"
    done = run / "took.json"
    if not done.exists():
        shutil.rmtree(run, ignore_errors=True)
        own = {"training.seed": seed, "training.max_images": images, "training.checkpoint_every_images": images}
        own |= {"training.evaluate_images": 0, "training.num_samples": 0, "training.tensorboard": False}
        own |= {"training.threads": 1, "data.workers": 1, "data.root": arguments.data}
        begun = time.process_time()
        config = resolve([read_file(arguments.settings)])
        epoch = max(len(list((Path(arguments.data) / part).iterdir())) for part in ("trainA", "trainB"))
        if (planned := config.training.total_epochs * epoch) < images:
            sys.exit(f"{arguments.settings}: its epochs end after {planned:,} of {images:,} images")
        result = unpaired.train(config.method, config=arguments.settings, out=run, settings=own, quiet=True)
        done.write_text(json.dumps({"images": result.images_seen, "cpu_seconds": time.process_time() - begun}))
    return run, dict(json.loads(done.read_text()))


# ------------------------------------------------------------------------------------------------------- judge, record


def judge(model: Path, data: str) -> dict[str, dict[str, float]]:
    """Return the figures of both directions on all test images."""
    kept = model.with_name(f"{model.name}.figures.json")
    if not kept.exists():
        own: dict[str, Any] = {"checkpoint": "last"} if (model / "config.json").exists() else {}
        found = unpaired.evaluate(
            model,
            data=data,
            size=SIZE,
            translate_size=SIZE,
            metrics=JUDGE,
            classes=CLASSES,
            features="lite0",
            bounds=False,
            **own,
        )
        figures = {
            direction: {one.name: one.value for one in each.figures if one.value is not None}
            for direction, each in found.directions.items()
        }
        kept.write_text(json.dumps(figures, indent=2))
    return dict(json.loads(kept.read_text()))


def authors_figures(arguments: argparse.Namespace, seed: int, images: int) -> dict[str, Any]:
    """Judge a snapshot of the authors' training."""
    folder = arguments.work / arguments.name / f"seed{seed}"
    model = folder / f"model-{images}"
    if not model.exists():
        from_files([folder / f"{images}_net_{name}.pth" for name in ("G_A", "G_B")], model)
    cpu = json.loads((folder / "times.json").read_text())[str(images)]
    return {"images": images, "cpu_seconds": cpu, "figures": judge(model, arguments.data)}


def make(arguments: argparse.Namespace) -> None:
    """Train, judge and write the folder of a record."""
    out = RECORDS / arguments.track / arguments.name
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    record: dict[str, Any] = {"name": arguments.name, "seeds": {}}
    if arguments.settings is None:
        if not arguments.judge_only:
            train_authors(arguments)
        for seed in arguments.seeds:
            record["seeds"][seed] = authors_figures(arguments, seed, arguments.images)
        record["curve"] = {
            images: authors_figures(arguments, arguments.seeds[0], images)["figures"] for images in arguments.curve
        }
        record["options"] = THEIRS
    else:
        ratio = arguments.work / arguments.name / "ratio.json"
        if not ratio.exists():
            ratio.parent.mkdir(parents=True, exist_ok=True)
            ratio.write_text(json.dumps(step_ratio(arguments)))
        record["step"] = json.loads(ratio.read_text())
        batch = resolve([read_file(arguments.settings)]).training.batch_size
        images = arguments.images or int(arguments.time * record["step"]["ratio"]) // batch * batch
        record["time"] = images / record["step"]["ratio"]
        for seed in arguments.seeds:
            run, took = train_ours(arguments, seed, images)
            record["seeds"][seed] = {**took, "figures": judge(run, arguments.data)}
            shutil.copy(run / "metrics.jsonl", out / f"seed{seed}.jsonl")
            print(arguments.name, seed, record["seeds"][seed], flush=True)
        shutil.copy(arguments.settings, out / "settings.toml")
    record["versions"] = {"unpaired": unpaired.__version__, "torch": torch.__version__}
    record["machine"] = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, one thread"
    (out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    table()


def table() -> None:
    """Write the tables of all records: means over seeds, and Welch's t-test against the bar of their track."""
    text = "\n".join(f"## {name}\n{_table(RECORDS / track)}" for track, name in TRACKS.items())
    (RECORDS / "table.md").write_text(text)
    print(text)


def _table(track: Path) -> str:
    found = [json.loads(path.read_text()) for path in sorted(track.glob("*/record.json"))]
    bar = next((one for one in found if one["name"] == BAR), None)
    found.sort(key=lambda one: (one["name"] != BAR, len(one["seeds"]) < 3, _mean(one, "a2b", "kernel")))
    titles = [f"{name} {way}" for name in COLUMNS for way in ("a2b", "b2a")]
    lines = [f"| record | seeds | time (authors' = 1) | images | {' | '.join(titles)} | hits | floors |"]
    lines.append("| --- |" + " ---: |" * (len(titles) + 4) + " --- |")
    for one in found:
        cells = [_cell(one, bar, way, name) for name in COLUMNS for way in ("a2b", "b2a")]
        hits = " / ".join(f"{_mean(one, way, 'class_hit'):.1f}" for way in ("a2b", "b2a"))
        images, of_bar = (next(iter(each["seeds"].values()))["images"] for each in (one, bar or one))
        head = [one["name"], str(len(one["seeds"])), f"{one.get('time', images) / of_bar:.2f}", f"{images:,}"]
        lines.append(f"| {' | '.join([*head, *cells, hits, _floors(one, bar)])} |")
    return "\n".join(lines) + "\n"


def _values(record: dict[str, Any], way: str, name: str) -> list[float]:
    return [seed["figures"][way][name] for seed in record["seeds"].values()]


def _mean(record: dict[str, Any], way: str, name: str) -> float:
    return statistics.mean(_values(record, way, name))


def _cell(one: dict[str, Any], bar: dict[str, Any] | None, way: str, name: str) -> str:
    """Return mean and standard deviation, and the p value of being better than the bar where seeds suffice."""
    values = _values(one, way, name)
    text = f"{statistics.mean(values):.3g}"
    if len(values) < 2:
        return text
    text += f" ± {statistics.stdev(values):.2g}"
    if bar is None or one is bar or len(bar["seeds"]) < 2:
        return text
    side = "less" if COLUMNS[name] == "lower" else "greater"
    p = stats.ttest_ind(values, _values(bar, way, name), equal_var=False, alternative=side).pvalue
    return f"{text} (p {p:.2g})"


def _floors(one: dict[str, Any], bar: dict[str, Any] | None) -> str:
    """Say which floors are broken: those of kept content and of the finest level of SWD."""
    if bar is None or one is bar:
        return ""
    broken = [
        f"{name} {way}"
        for name in ("structure_edges", "swd_64")
        for way in ("a2b", "b2a")
        if _mean(one, way, name) > FLOOR * _mean(bar, way, name)
    ]
    return ", ".join(broken) or "kept"


def main() -> None:
    """Parse, and make a record or the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help=f"{BAR}: their code; ours: the settings' files; table: write the table alone")
    parser.add_argument("--peer", type=Path, help="checkout of the authors' PyTorch code")
    parser.add_argument("--data", help="horse2zebra, 256 x 256")
    parser.add_argument("--work", type=Path, help="folder of the trainings")
    parser.add_argument("--settings", type=Path, nargs="*", default=[None], help="TOML files, each named as its record")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--track", choices=list(TRACKS), default="cpu64")
    parser.add_argument("--images", type=int, help="of one domain")
    parser.add_argument("--time", type=float, help="for ours: as long as so many images take the authors' code")
    parser.add_argument("--every", type=int, default=2500, help="images between snapshots of the authors' training")
    parser.add_argument("--epochs", type=int, nargs=2, default=[4, 4], help="theirs at the full rate, and decaying")
    parser.add_argument("--curve", type=int, nargs="*", default=[], help="snapshots of the first seed to judge as well")
    parser.add_argument("--judge-only", action="store_true", help="judge snapshots that are there")
    arguments = parser.parse_args()
    if arguments.name == "table":
        table()
        return
    if arguments.name not in (BAR, "ours"):
        parser.error(f"NAME is {BAR}, ours or table")
    if not (arguments.peer and arguments.data and arguments.work):
        parser.error("--peer, --data and --work are needed")
    if not arguments.images and (arguments.name == BAR or not arguments.time):
        parser.error("--images is needed for the bar; for a record --time (or --images)")
    for settings in arguments.settings:
        name = BAR if settings is None else settings.stem
        make(argparse.Namespace(**{**vars(arguments), "settings": settings, "name": name}))


if __name__ == "__main__":
    main()
