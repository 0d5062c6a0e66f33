"""What a training tells the user's own code while it runs: loggers such as those for W&B and MLflow in `examples/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from unpaired.training.result import Result


class Callback:
    """Override what you need; everything is called between steps, in the first process alone.

    A callback that raises an `Exception` is reported, by name, and not called again; the training goes on and is not
    harmed. To end a training from a callback, raise `KeyboardInterrupt`: nothing since the last checkpoint is kept.
    """

    def on_start(self, run: Path, settings: Mapping[str, Any]) -> None:
        """The training begins or is resumed; `settings` has the sections `method`, `data` and `training`."""

    def on_log(self, record: Mapping[str, Any]) -> None:
        """A line of `metrics.jsonl` was written: `losses` and speed, an `evaluation`, or an `event`; all have `images`.

        Losses that are not finite are NaN here.
        """

    def on_sample(self, picture: Path, images: int) -> None:
        """A grid of samples was written as PNG after so many images."""

    def on_checkpoint(self, checkpoint: Path, images: int) -> None:
        """A checkpoint, which is a model folder, was written after so many images."""

    def on_end(self, result: Result | None) -> None:
        """The training has finished or was interrupted; None where it failed with an error."""


@final
class Callbacks(Callback):
    """Calls several callbacks, so that none of them can harm a training."""

    def __init__(self, callbacks: Sequence[Callback], warn: Callable[[str], None]) -> None:
        self._callbacks, self._warn = list(callbacks), warn

    def on_start(self, run: Path, settings: Mapping[str, Any]) -> None:
        """Call `on_start` of all."""
        self._call("on_start", lambda each: each.on_start(run, settings))

    def on_log(self, record: Mapping[str, Any]) -> None:
        """Call `on_log` of all."""
        self._call("on_log", lambda each: each.on_log(record))

    def on_sample(self, picture: Path, images: int) -> None:
        """Call `on_sample` of all."""
        self._call("on_sample", lambda each: each.on_sample(picture, images))

    def on_checkpoint(self, checkpoint: Path, images: int) -> None:
        """Call `on_checkpoint` of all."""
        self._call("on_checkpoint", lambda each: each.on_checkpoint(checkpoint, images))

    def on_end(self, result: Result | None) -> None:
        """Call `on_end` of all."""
        self._call("on_end", lambda each: each.on_end(result))

    def _call(self, name: str, action: Callable[[Callback], None]) -> None:
        for callback in tuple(self._callbacks):
            try:
                action(callback)
            except Exception as error:
                self._callbacks.remove(callback)
                self._warn(
                    f"the callback {type(callback).__name__} failed in {name} ({type(error).__name__}: {error}). It is "
                    "not called again; the training goes on."
                )
