"""Runs as a training, evaluations and audits leave them, written by hand by the formats."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unpaired.report.image_grid import grid, save_grid, stack
from unpaired.report.run_log import MetricsLog, event

PROTOCOL = {
    "reference split": "test",
    "images": 100,
    "resize filter": "bicubic, antialiased",
    "size": "64 x 64",
    "file format": "PNG",
    "library version": "unpaired 0.1.0",
    "seed": 0,
}


def pixels(seed: int, height: int = 32, width: int = 32) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def write_run(
    folder: Path,
    *,
    records: int = 120,
    grids: int = 9,
    evaluations: int = 8,
    settings: dict[str, Any] | None = None,
    height: float = 1.0,
    last: str | None = "finished",
    warning: str = "the discriminators have learned to tell everything apart",
) -> Path:
    """Write what a training of CycleGAN leaves, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    training = {"epochs": 10, "decay_epochs": 10, "schedule": "linear", "max_images": 12_000, "precision": "fp32"}
    config = {
        "method": {"name": "cyclegan", "cycle_weight": 10.0, "generator": {"family": "resnet", "blocks": 9}},
        "data": {"root": "horse & zebra", "crop_size": 64},
        "training": training | (settings or {}),
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    log = MetricsLog(folder, tensorboard=False)
    rng = np.random.default_rng(len(folder.name))
    names = ("gan_a2b", "gan_b2a", "cycle_a", "cycle_b", "discriminator_a", "discriminator_b")
    for step in range(1, records + 1):
        noise = rng.normal(0, 0.06, len(names))
        losses = {
            name: height * (1 + place / 4 + 2 * math.exp(-step / 20)) + noise[place] for place, name in enumerate(names)
        }
        log.write(
            {
                "images": step * 100,
                "epoch": step / 6,
                "step": step * 100,
                "seconds": step * 7.5,
                "images_per_second": 13.3 + math.sin(step / 5),
                "waiting_share": 0.01,
                "learning_rates": {
                    "generators": 2e-4 * min(1, (records + 1 - step) / records * 2),
                    "discriminators": 2e-4,
                },
                "losses": losses,
            }
        )
        if evaluations and step % max(1, records // evaluations) == 0:
            swd = height * (20 + 30 * math.exp(-step / 30) + (step / records) ** 2 * 6)
            share = {"seconds": step * 7.5, "evaluation_seconds": 2.1, "evaluation_share": 0.031}
            values = {"swd_a2b": swd, "swd_b2a": swd * 1.3, "reconstruction_l1_a2b": 0.4 * math.exp(-step / 50)}
            log.write({"images": step * 100, "evaluation": values, **share, "best": step <= records // 2})
    log.write(event("warning", 500, warning))
    if last:
        log.write(event(last, records * 100, f"{records * 100} of 12000 images; at most 0.50 GiB of memory"))  # type: ignore[arg-type]
    log.close()
    for number in range(grids):
        rows = [{"input": pixels(k), "translation": pixels(k + number + 9), "back": pixels(k + 1)} for k in range(3)]
        columns = ["input", "translation", "back"]
        save_grid(folder, number * 1000, stack([grid(rows, columns, f"{way}") for way in ("A to B", "B to A")]))
    checkpoint = folder / "checkpoints" / f"{records * 100:09d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.json").write_text(json.dumps({"versions": {"unpaired": "0.1.0", "torch": "2.13.0"}}))
    (checkpoint / "training.json").write_text(json.dumps({"device": "cpu"}))
    return folder


def figure(name: str, value: float | None, **rest: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": name.upper(),
        "value": value,
        "error": None,
        "unit": "",
        "better": "lower",
        "group": "distribution",
        "protocol": PROTOCOL,
        "note": None,
        **rest,
    }


def evaluation(*, fid: float = 75.2, error: float | None = 1.34, **protocol: Any) -> dict[str, Any]:
    """Return an evaluation of both directions; `protocol` changes that of the FID."""

    def direction(scale: float) -> dict[str, Any]:
        return {
            "figures": [
                figure(
                    "fid",
                    fid * scale,
                    title="FID",
                    error=error,
                    protocol=PROTOCOL | {"features": "Inception-v3 (FID)", "fingerprint": "6726825d0af5"} | protocol,
                ),
                figure("kid", 0.0312 * scale, title="KID", error=0.0021),
                figure("swd", 12.34 * scale, title="Sliced Wasserstein distance", note="mean over the levels 64 px: 9"),
                figure("swd_64", 9.87 * scale, title="Sliced Wasserstein distance, level of 64 px"),
                figure("psnr", 21.5, title="PSNR", unit="dB", better="higher", group="reconstruction"),
                figure(
                    "ms_ssim", None, title="MS-SSIM", group="reconstruction", note="Images below 161 pixels have none."
                ),
            ],
            "bounds": {"untranslated": [figure("swd", 30.1, title="Sliced Wasserstein distance")]},
            "tables": [{"title": "Per class", "columns": ["class", "IoU"], "rows": [["road", 0.71], ["sign", None]]}],
            "pictures": [
                {"file": "worst.png", "title": "Worst reconstructions", "alt": "Six inputs and what came back"}
            ],
            "warnings": ["Only 100 images: the covariance of 2048 features has no full rank."],
        }

    return {
        "format": "unpaired-evaluation",
        "version": 1,
        "created": "2026-11-20T12:00:00+00:00",
        "command": "unpaired evaluate runs/h2z --data horse2zebra",
        "versions": {"unpaired": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        "model": {"path": "runs/h2z", "checkpoint": "000012000", "images_seen": 12000, "method": "cyclegan"},
        "data": {"root": "horse2zebra", "split": "test", "images": {"a": 100, "b": 100}, "contents": "c0ffee12"},
        "directions": {"a2b": direction(1.0), "b2a": direction(1.2)},
    }


def audit(*, hidden: float = 0.34) -> dict[str, Any]:
    strengths = [0, 1, 2, 4, 8, 16]
    lines = [
        {"name": name, "x": strengths, "y": [start + slope * x for x in strengths]}
        for name, start, slope in (("this model", 0.02, 0.012), ("baseline without a model", 0.02, 0.002))
    ]
    return {
        **evaluation(),
        "format": "unpaired-audit",
        "command": "unpaired audit runs/h2z --data horse2zebra",
        "directions": {
            "a2b": {
                "summary": "About a third of what the way back restores is carried by detail that nobody can see.",
                "hidden_share": hidden,
                "figures": [
                    figure("noise_1", 0.131, title="L1 with noise of 1 level", group="audit"),
                    figure("lost_to_jpeg", 0.613, title="Share lost to a JPEG file of quality 75", group="audit"),
                ],
                "curves": [
                    {
                        "title": "Reconstruction under noise",
                        "x_label": "noise, levels of 255",
                        "y_label": "L1 of the reconstruction",
                        "lines": lines,
                    }
                ],
                "pictures": [
                    {
                        "file": "hidden.png",
                        "title": "The hidden signal, 30 times amplified",
                        "alt": "Columns: input, translation, what is lost",
                    }
                ],
                "warnings": [],
            }
        },
    }


def put(run: Path, kind: str, name: str, content: object) -> Path:
    """Write an evaluation or an audit into a run, with its pictures, and return its folder."""
    folder = run / f"{kind}s" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{kind}.json").write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    picture = "worst.png" if kind == "evaluation" else "hidden.png"
    Image.fromarray(pixels(7, 120, 400)).save(folder / picture)
    return folder
