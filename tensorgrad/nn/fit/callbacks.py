"""Callbacks that come with tensorgrad."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray, positive_integer
from tensorgrad.core.elsewhere import advise_value
from tensorgrad.nn.fit.metrics import Mode
from tensorgrad.nn.fit.training import Callback, Training

__all__ = ["EarlyStopping"]


class EarlyStopping(Callback):
    """Stop when a figure of the history has not improved for some epochs, and restore the best weights.

    The best weights are restored at the end of every training that no error or Ctrl-C ended, whether it was
    stopped or not. A figure that is NaN never counts as best, and is told by a RuntimeWarning.

    Parameters
    ----------
    monitor : str
        A key of the history.
    patience : int or inf
        Epochs without improvement after which the training stops.
    min_delta : float
        An improvement must be larger than this.
    mode : "min" or "max", optional
        Whether lower or higher is better. By default as is known of losses, of the accuracy, and of
        scikit-learn's metrics from its scorers.
    restore_best : bool
        Whether to restore parameters and buffers of the best epoch.

    Attributes
    ----------
    best : float or None
        The best figure of the last training.
    best_epoch : int
        Its epoch, from 1.

    Raises
    ------
    ValueError
        If a number is out of range; when the training begins, if the mode of the figure is not known.

    >>> network = tg.Network([tg.Dense(1, 1, rng=0)])
    >>> network.use(tg.mse)
    >>> x = np.ones((4, 1), np.float32)
    >>> stopping = tg.EarlyStopping("loss", patience=2, min_delta=0.5)
    >>> len(network.fit(x, 0 * x, 100, 0.1, callbacks=[stopping], verbose=False)["loss"]) < 100
    True
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: float = 5,
        *,
        min_delta: float = 0.0,
        mode: Mode | None = None,
        restore_best: bool = True,
    ) -> None:
        if patience != math.inf:
            patience = positive_integer("EarlyStopping", "patience", patience)
        self.patience = patience
        if not 0 <= min_delta < np.inf:
            raise ValueError(f"EarlyStopping: expected min_delta of at least 0, got {min_delta!r}")
        if mode not in (None, "min", "max"):
            raise ValueError(f"EarlyStopping: give mode 'min' or 'max' for {monitor!r}, got {mode!r}")
        self.monitor = monitor
        self.min_delta = float(min_delta)
        self.mode = mode
        self.restore_best = restore_best
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0
        self._best_state: dict[str, NDArray] = {}

    def on_train_begin(self, training: Training) -> None:
        """Forget the training before, unless this one goes on with it."""
        if not training.resumed:
            self._forget()
        if self.monitor.startswith("validation_") and not training.validates:
            raise ValueError(f"EarlyStopping: there is no {self.monitor} without validation data")
        if self.mode is None and training.better(self.monitor) is None:
            raise ValueError(
                f"EarlyStopping: give mode 'min' or 'max' for {self.monitor!r}: which is better is known of "
                "losses, the accuracy and scikit-learn's metrics alone"
                + advise_value(self.monitor, ("validation_loss", "validation_accuracy", "accuracy"))
            )
        if all(type(callback) in (EarlyStopping, Progress) for callback in training.callbacks):
            self._require(training.foresee())  # others may add figures

    def _require(self, figures: Iterable[str]) -> None:
        if self.monitor not in figures:
            raise ValueError(
                f"EarlyStopping: expected {self.monitor!r} in the history, got {', '.join(figures)}"
                + advise_value(self.monitor, figures)
            )

    def on_epoch_end(self, training: Training) -> None:
        """Compare with the best."""
        self._require(training.figures)
        value = training.figures[self.monitor]
        sign = 1 if (self.mode or training.better(self.monitor)) == "min" else -1
        if math.isnan(value):
            told = (
                f"EarlyStopping: {self.monitor} is NaN in epoch {training.epoch}, and does not count as best"
            )
            warnings.warn(told, RuntimeWarning, stacklevel=2)
        elif self.best is None or sign * value < sign * self.best - self.min_delta:
            self.best, self.best_epoch = value, training.epoch
            if self.restore_best:
                self._best_state = training.network.state()
        if training.epoch - self.best_epoch < self.patience:
            return
        if self.best is None:
            training.stop(f"{self.monitor} was NaN in every epoch")
        else:
            training.stop(f"{self.monitor} has not improved on {self.best:.6g} since epoch {self.best_epoch}")

    def on_train_end(self, training: Training) -> None:
        """Restore the best weights."""
        if self.restore_best and self._best_state:
            training.network.load_state(self._best_state)

    def settings(self) -> dict[str, Any]:
        """The arguments."""
        names = ("monitor", "patience", "min_delta", "mode", "restore_best")
        return {name: getattr(self, name) for name in names}

    def state(self) -> dict[str, Any]:
        """The best figure, its epoch and its weights."""
        return {"best": self.best, "best_epoch": self.best_epoch, "best_state": dict(self._best_state)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self._best_state = dict(state["best_state"])


class Progress(Callback):
    """Print a line an epoch; on a terminal and in a notebook, show a bar too if tqdm is installed.

    In a file or a pipe, such as a log, there is no bar: the line an epoch is the progress then. The held-out
    data is called what it is: it may be the test data, if nothing is chosen by it.
    """

    def __init__(self, held_out: str = "validation") -> None:
        self.held_out = held_out
        self._bar: Any = None

    def on_epoch_begin(self, training: Training) -> None:
        """Open a bar."""
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return
        self._bar = tqdm(
            total=training.batches,
            initial=training.batch,
            desc=f"epoch {training.epoch}/{training.epochs}",
            unit="step",
            leave=False,
            disable=None,
        )

    def on_batch_end(self, training: Training) -> None:
        """Move the bar."""
        if self._bar is not None and not self._bar.disable:
            self._bar.set_postfix_str(f"loss {training.loss:.4g}", refresh=False)
            self._bar.update()

    def on_epoch_end(self, training: Training) -> None:
        """Print the line."""
        self.close()
        figures = training.figures
        values = "  ".join(
            f"{key.replace('validation', self.held_out).replace('_', ' ')} "
            + (f"{value:.3g}" if key == "learning_rate" else f"{value:.4f}")
            for key, value in figures.items()
            if key != "seconds"
        )
        seconds = figures["seconds"]
        speed = f"{seconds:.1f} s, {training.rows / seconds:.0f} rows/s"
        print(f"epoch {training.epoch}/{training.epochs}  {values}  {speed}", flush=True)
        if training.stopped is not None:
            print(f"stopped: {training.stopped}", flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
