"""The demo: two drawn domains, a small CycleGAN trained as any other, one picture and one score.

Nothing here is special: the images are ordinary PNG folders, the training is that of `unpaired train`, and the
translations are those of `Translator.load`.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from unpaired.core.files import check_out, new_folder, write_atomic
from unpaired.core.given import Given
from unpaired.core.settings import option
from unpaired.core.terminal import note, say
from unpaired.demo.domains import SIZE, Picture, Scene, Scores, draw_domains, score, write_domains
from unpaired.models.translator import Translator
from unpaired.report.image_grid import grid, heading
from unpaired.training.result import Result
from unpaired.training.settings import resolve
from unpaired.training.start import start_run

ROWS = 5
"""Examples shown of each direction."""
NAMES = ("plain", "striped")
"""What the domains A and B hold."""
ENOUGH = 80.0
"""Per cent of the way from the untranslated images to the real ones that the demo must cover."""

SETTINGS: Mapping[str, Any] = {
    "method.name": "cyclegan",
    # Its skips bring colours and ground past the instance norms; a ResNet takes much longer to learn to keep them.
    "method.generator": {"family": "unet", "depth": 3, "width": 24},
    "method.discriminator": {"family": "patchgan", "layers": 2, "width": 24},
    # The skips keep content too: with these weights, 960 images do what 2,880 did with the published 10 and 5.
    "method.cycle_weight": 3.0,
    "method.identity_weight": 3.0,
    "data.name_a": NAMES[0],
    "data.name_b": NAMES[1],
    "data.crop_size": SIZE,
    "data.load_size": SIZE,
    "training.epochs": 2,
    "training.decay_epochs": 2,
    "training.learning_rate": 1e-3,
    "training.ema": 0.98,
    # A second thread gains a third on two idle cores and makes it six times as slow on two busy ones.
    "training.threads": 1,
    # Networks as small as these gain nothing from bf16, and every machine is to draw the same picture.
    "training.precision": "fp32",
    "training.checkpoint_every_images": 480,
    # Once, at the end. Which checkpoint is the best would else depend on how busy the machine is, which evaluations are
    # thinned out for, and by distances on 24 fish one that paints few stripes yet may win.
    "training.evaluate_every_images": 960,
    # Not by features of a network, whose reading and computing take five seconds where it is installed.
    "training.best": "swd",
}
"""What differs from the published settings, so that a minute on a CPU is enough."""


def run_demo(out: Path, *, seed: int = 0, quiet: bool = False) -> int:
    """Draw, train, translate and score, all in the new folder `out`; return the exit code.

    0 when both directions cover at least 80 % of the way, 1 when not, 128 + the signal's number when interrupted.
    Raises `UserError` where `out` is in use or `seed` cannot be one; nothing has been written then.
    """
    check_out(out, replaces=())
    given = Given({**SETTINGS, "data.root": str(out / "images")}, "the demo's {name}")
    config = resolve([given, Given({"training.seed": seed}, "--seed")])
    with new_folder(out, advice="Choose another --out, or delete it first."):
        domains = draw_domains(seed)
        write_domains(domains, out / "images")
        result = start_run(config, out / "run", quiet=quiet)
        if result.state == "interrupted":
            return _interrupted(result)
        return _show(out, domains, quiet)


def require_playground() -> None:
    """Raise `UserError` where the extra is not installed, before minutes of training."""
    from unpaired.serve.start import needs_service

    with needs_service(option("open")):
        import unpaired.serve.app  # noqa: F401


def open_playground(out: Path) -> None:
    """Serve the demo's model to this machine and open its page in a browser; returns when it is stopped."""
    from unpaired.serve.settings import ServeSettings
    from unpaired.serve.start import serve

    # PyTorch starts at once; a free port is always there.
    serve([f"fish={out / 'run'}"], ServeSettings(port=0, engine="torch", reload=0), open_page=True)


def _show(out: Path, domains: Mapping[str, list[Scene]], quiet: bool) -> int:
    """Translate the held-out images, draw and print what came of it; return the exit code."""
    run = out / "run"
    translators = {direction: Translator.load(run, direction) for direction in ("a2b", "b2a")}
    held_out = {"a": domains["testA"], "b": domains["testB"]}
    examples = {direction: _translate(direction, translators, held_out) for direction in translators}
    scores = {direction: _score(direction, examples, held_out) for direction in examples}
    write_atomic(out / "demo.png", draw_examples(examples))
    _print_scores(scores, translators["a2b"].title)
    if not quiet:
        _print_places(out)
    return _judge(scores)


def _translate(
    direction: str, translators: Mapping[str, Translator], held_out: Mapping[str, list[Scene]]
) -> list[Example]:
    source, target = direction.split("2")
    inputs: list[Picture] = [scene.picture for scene in held_out[source]]
    translations = translators[direction](inputs)
    reconstructions = translators[f"{target}2{source}"](translations)
    return [Example(*pictures) for pictures in zip(inputs, translations, reconstructions, strict=True)]


def _score(direction: str, examples: Mapping[str, list[Example]], held_out: Mapping[str, list[Scene]]) -> Scores:
    source, target = direction.split("2")
    translations = [example.translation for example in examples[direction]]
    return score(held_out[source], translations, held_out[target])


# ------------------------------------------------------------------------------------------------------ what is said


def _print_scores(scores: Mapping[str, Scores], model: str) -> None:
    plain, striped = NAMES
    names = {"a2b": f"A to B: {plain} to {striped}", "b2a": f"B to A: {striped} to {plain}"}
    say(f"\nStripes on the held-out fish by the {model}; 0: plain, 100: striped all over the flank.\n")
    say(f"{'':26}{'input':>7}{'translation':>13}{'real target':>13}")
    for direction, found in scores.items():
        say(
            f"{names[direction]:26}{found.input:7.1f}{found.translation:13.1f}{found.real:13.1f}"
            f"   the translation covers {found.covered:.0f} % of the way"
        )


def _print_places(out: Path) -> None:
    images, run = shlex.quote(str(out / "images" / "testA")), shlex.quote(str(out / "run"))
    say(
        f"\nLook at   {out / 'demo.png'}\n"
        f"The page  {out / 'run' / 'index.html'}\n"
        f"The run   {out / 'run'}\n"
        f"\nNext, translate images yourself:\n"
        f"  unpaired translate {run} {images} --out {shlex.quote(str(out / 'translated'))} --direction a2b"
    )


def _judge(scores: Mapping[str, Scores]) -> int:
    short = [direction for direction, found in scores.items() if found.covered < ENOUGH]
    if short:
        note(f"The demo has failed: {' and '.join(short)} did not cover {ENOUGH:.0f} % of the way. Another --seed may.")
    return 1 if short else 0


def _interrupted(result: Result) -> int:
    note(
        f"Stopped after {result.images_seen:,} images, before there was anything to score. Start the demo again with "
        f"another --out, or resume the training alone:\n  unpaired train --resume {shlex.quote(str(result.run))}"
    )
    return 128 + (result.signal or 0)


class Example(NamedTuple):
    """A held-out image, its translation, and that translated back."""

    input: Picture
    translation: Picture
    reconstruction: Picture


def draw_examples(examples: Mapping[str, Sequence[Example]]) -> bytes:
    """Return a PNG file that shows the first examples of every direction."""
    grids = []
    for direction, found in examples.items():
        rows = [shown._asdict() for shown in found[:ROWS]]
        grids.append(grid(rows, Example._fields, heading(direction, NAMES)))
    content = io.BytesIO()
    Image.fromarray(np.concatenate(grids, axis=1)).save(content, "PNG")
    return content.getvalue()
