"""Learning rate schedules: the factor on the first learning rate, by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from unpaired.training.config import TrainingConfig

STEP_FACTOR = 0.1
PLATEAU_FACTOR, PLATEAU_THRESHOLD, PLATEAU_PATIENCE = 0.2, 0.01, 5
"""The authors' settings of ReduceLROnPlateau."""


def factor(config: TrainingConfig, epoch: int) -> float:
    """Return the factor for an epoch counted from 0; `plateau` depends on the losses, see `Plateau`.

    `linear` is the authors' rule 1 - max(0, epoch + 1 - epochs) / (decay_epochs + 1) with the epoch counted from 0: the
    first `epochs` epochs run at the full rate, then it falls in equal steps and would reach zero one epoch after the
    last. (Their code of 2020 and later advances the scheduler before the first epoch, and so decays one epoch early.)
    """
    if config.schedule == "linear":
        return 1.0 - max(0, epoch + 1 - config.epochs) / (config.decay_epochs + 1)
    if config.schedule == "cosine":
        return (1.0 + math.cos(math.pi * min(epoch, config.epochs) / config.epochs)) / 2.0
    if config.schedule == "step":
        return float(STEP_FACTOR ** (epoch // config.step_epochs))
    return 1.0


@dataclass(slots=True)
class Plateau:
    """Divides the learning rate by five when a loss has not improved by 1 % for more than five epochs.

    The authors' code never gives its scheduler a loss to watch. Here it watches the sum over the epoch's mean losses of
    all terms but those that the method declares as a discriminator's.
    """

    factor: float = 1.0
    best: float = math.inf
    bad_epochs: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON, exact."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.factor, self.best, self.bad_epochs = float(state["factor"]), float(state["best"]), int(state["bad_epochs"])

    def observe(self, loss: float) -> None:
        """Take note of one epoch's mean loss."""
        if loss < self.best * (1.0 - PLATEAU_THRESHOLD) or math.isinf(self.best):
            self.best, self.bad_epochs = loss, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > PLATEAU_PATIENCE:
            self.factor *= PLATEAU_FACTOR
            self.bad_epochs = 0
