"""Log a training to Weights & Biases.

python examples/wandb_logger.py DATA RUN

needs `pip install wandb`; without an account set WANDB_MODE=offline.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import unpaired


class WandbLogger(unpaired.Callback):
    """One W&B run for each training; a resumed training goes on in the same one."""

    def __init__(self, project: str = "unpaired") -> None:
        import wandb

        self.wandb, self.project = wandb, project

    def on_start(self, run: Path, settings: Mapping[str, Any]) -> None:
        """Open the W&B run that is named as the folder."""
        self.wandb.init(project=self.project, name=run.name, id=run.name, resume="allow", config=dict(settings))

    def on_log(self, record: Mapping[str, Any]) -> None:
        """Log losses, learning rates and evaluations by images seen."""
        values = {
            f"{part}/{name}": value
            for part in ("losses", "learning_rates", "evaluation")
            for name, value in record.get(part, {}).items()
        }
        if values:
            self.wandb.log({**values, "images": record["images"]})

    def on_sample(self, picture: Path, images: int) -> None:
        """Log the grid of samples."""
        self.wandb.log({"samples": self.wandb.Image(str(picture)), "images": images})

    def on_end(self, result: unpaired.Result | None) -> None:
        """Close the W&B run; exit code 1 marks it as failed."""
        if result is not None and result.best is not None:
            self.wandb.summary["best_images"] = result.best.images_seen
            self.wandb.summary[f"best_{result.best.measure}"] = result.best.value
        self.wandb.finish(exit_code=1 if result is None else 0)


if __name__ == "__main__":
    unpaired.train("cyclegan", data=sys.argv[1], out=sys.argv[2], resume="auto", callbacks=[WandbLogger()])
