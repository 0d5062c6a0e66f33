"""Log a training to MLflow.

python examples/mlflow_logger.py DATA RUN

needs `pip install mlflow`; MLFLOW_TRACKING_URI says where to, ./mlruns by default.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import unpaired


class MlflowLogger(unpaired.Callback):
    """One MLflow run for each training."""

    def __init__(self, experiment: str = "unpaired") -> None:
        import mlflow

        self.mlflow, self.experiment = mlflow, experiment

    def on_start(self, run: Path, settings: Mapping[str, Any]) -> None:
        """Begin the MLflow run that is named as the folder, with all settings by dotted name."""
        self.mlflow.set_experiment(self.experiment)
        self.mlflow.start_run(run_name=run.name)
        for section, values in settings.items():
            self.mlflow.log_params({f"{section}.{name}": value for name, value in values.items()})

    def on_log(self, record: Mapping[str, Any]) -> None:
        """Log losses, learning rates and evaluations by images seen."""
        for part in ("losses", "learning_rates", "evaluation"):
            if values := record.get(part):
                self.mlflow.log_metrics(dict(values), step=record["images"])

    def on_sample(self, picture: Path, images: int) -> None:
        """Keep the grid of samples."""
        self.mlflow.log_artifact(str(picture), "samples")

    def on_end(self, result: unpaired.Result | None) -> None:
        """End the MLflow run."""
        status = "FAILED" if result is None else "FINISHED" if result.state == "finished" else "KILLED"
        self.mlflow.end_run(status=status)


if __name__ == "__main__":
    unpaired.train("cyclegan", data=sys.argv[1], out=sys.argv[2], resume="auto", callbacks=[MlflowLogger()])
