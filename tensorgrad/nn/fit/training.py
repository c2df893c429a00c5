"""Training: the loop, and where it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tensorgrad.core import Tensor, detect_nan
from tensorgrad.core.checks import NDArray
from tensorgrad.data.batches import ArrayBatches, Batch, StreamedBatches
from tensorgrad.nn.files.trees import generator_state, set_generator_state
from tensorgrad.nn.fit.callbacks import Callback
from tensorgrad.nn.fit.examples import Intake
from tensorgrad.nn.fit.interrupts import Interrupts
from tensorgrad.nn.fit.metrics import Measure, Values
from tensorgrad.nn.fit.tally import Tally, loss_of, mode
from tensorgrad.nn.optimizers import Optimizer
from tensorgrad.nn.process import tuned_process
from tensorgrad.nn.schedules import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorgrad.nn.fit.checkpoints import Checkpoints
    from tensorgrad.nn.network import Network

HINT = "A smaller learning rate usually helps"


class Training:
    """A training as `Network.fit` runs it; callbacks are given it.

    Attributes
    ----------
    network : Network
    optimizer : Optimizer
    schedule : Schedule or None
    history : dict of lists
        The figures of the finished epochs.
    epochs : int
        To be trained in all.
    epoch : int
        That is in progress or has just ended, from 1.
    batches : int or None
        Of an epoch, if that is known.
    batch : int
        Batches of the epoch that are done.
    step : int
        Batches that are done in all epochs.
    rows : int
        Examples of the epoch that are done.
    loss : float
        Of the last batch, per example.
    figures : dict
        What the last epoch added to the history.
    stopped : str or None
        Why the training was stopped.
    validates : bool
        Whether there is validation data.
    resumed : bool
        Whether the training goes on from a checkpoint.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        schedule: Schedule | None,
        source: ArrayBatches | StreamedBatches,
        intake: Intake,
        *,
        epochs: int,
        rng: np.random.Generator,
        augment: Callable[[NDArray, np.random.Generator], NDArray] | None,
        augment_rng: np.random.Generator | None,
        weigh: Callable[[Values, Values | None], Values | None] | None,
        measures: Mapping[str, Measure],
        validate: Callable[[], dict[str, float]] | None,
        callbacks: Sequence[Callback],
        schedule_every: str,
        schedule_monitor: str | None,
    ) -> None:
        self.network, self.optimizer, self.schedule = network, optimizer, schedule
        self.epochs = epochs
        self.callbacks = list(callbacks)
        self.history: dict[str, list[float]] = {}
        self.epoch = self.batch = self.step = 0
        self.batches = source.steps
        self.loss = float("nan")
        self.figures: dict[str, float] = {}
        self.stopped: str | None = None
        self.resumed = False
        self.tally = Tally(measures)
        self.seconds = 0.0  # of the epoch, before a resume
        self.generators = {"": rng} | ({} if augment_rng is None else {"augment": augment_rng})
        self.generators |= {f"network {path}": g for path, g in network.named_generators().items()}
        self.epoch_start = generator_state(rng)
        self.checkpoints: Checkpoints | None = None
        self._schedule_every, self._schedule_monitor = schedule_every, schedule_monitor
        self._source, self._intake = source, intake
        self._augment, self._weigh, self._validate = augment, weigh, validate
        self._layer_generators = list(network.named_generators().values())
        self._buffers = list(network._buffers().values())
        self._named = network.named_parameters()  # found once: the search also goes through the history
        self._loss = loss_of(network)

    @property
    def rows(self) -> int:
        """Examples of the epoch that are done."""
        return self.tally.rows

    @property
    def validates(self) -> bool:
        """Whether there is validation data."""
        return self._validate is not None

    @property
    def finished(self) -> int:
        """Epochs that are in the history."""
        return len(self.history.get("loss", ()))

    def stop(self, reason: str) -> None:
        """Let this epoch be the last. Called between epochs or in one, which is finished first."""
        self.stopped = str(reason)

    def run(self) -> None:
        """Train all epochs that are left."""
        with mode(self.network, training=True), tuned_process(), Interrupts() as interrupts:
            try:
                self._tell("on_train_begin")
                if self.checkpoints is not None and not self.resumed:
                    self.checkpoints.save(self)  # a folder that cannot be written to shows now
                self.network.history = self.history
                while self.finished < self.epochs and self.stopped is None:
                    self._run_epoch(interrupts)
                    self._heed(interrupts)
                if self.checkpoints is not None:
                    self.checkpoints.finish(self)
                self._tell("on_train_end")
                if interrupts.pending:
                    raise KeyboardInterrupt
            finally:
                for callback in self.callbacks:
                    callback.close()

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def _heed(self, interrupts: Interrupts) -> None:
        if interrupts.pending:
            if self.checkpoints is not None:
                self.checkpoints.finish(self)
            raise KeyboardInterrupt

    # An epoch

    def _run_epoch(self, interrupts: Interrupts) -> None:
        begun = time.perf_counter() - self.seconds
        self.epoch = self.finished + 1
        batches = self._begin_epoch()
        self._tell("on_epoch_begin")
        # What overflows shows in the loss, the gradients and the parameters, which are checked.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for batch in batches:
                self._train_step(batch)
                for callback in self.callbacks:
                    callback.on_batch_end(self)
                if self.checkpoints is not None and self.checkpoints.due(self):
                    self.seconds = time.perf_counter() - begun
                    self.checkpoints.save(self)
                if interrupts.pending:
                    self.seconds = time.perf_counter() - begun
                    self._heed(interrupts)
        self.require_finite_parameters()
        self.figures = {**self.tally.figures(), "seconds": time.perf_counter() - begun}
        if self.schedule is not None:
            self.figures["learning_rate"] = self.optimizer.groups[0].learning_rate
        if self._validate is not None:
            self.figures |= {f"validation_{key}": value for key, value in self._validate().items()}
        for key, value in self.figures.items():
            self.history.setdefault(key, []).append(value)
        self._step_schedule()
        self._tell("on_epoch_end")
        self.batch, self.seconds = 0, 0.0
        if self.checkpoints is not None:
            self.checkpoints.epoch_ended(self)

    def _step_schedule(self) -> None:
        if self.schedule is None or self._schedule_every == "batch":
            return
        monitor = self._schedule_monitor or ("validation_loss" if self.validates else "loss")
        if self.schedule.needs_metric and monitor not in self.figures:
            raise ValueError(
                f"fit: expected schedule_monitor to be one of {', '.join(self.figures)}, got {monitor!r}"
            )
        self.schedule.step(self.figures[monitor] if self.schedule.needs_metric else None)

    def _begin_epoch(self) -> Iterator[Batch]:
        rng = self.generators[""]
        if self.batch == 0:
            self.tally = Tally(self.tally.measures)
            self.epoch_start = generator_state(rng)
            return self._source.epoch(rng, seen=self.step)
        # Resumed within the epoch: what the generator gave at its beginning is drawn again.
        now = {name: generator_state(g) for name, g in self.generators.items()}
        set_generator_state(rng, self.epoch_start)
        batches = self._source.epoch(rng, skip=self.batch, seen=self.step)
        for name, state in now.items():
            set_generator_state(self.generators[name], state)
        return batches

    # A step

    def _train_step(self, batch: Batch) -> None:
        x, y, weights = self._taken(batch)
        before = [(buffer, buffer.numpy()) for buffer in self._buffers]
        states = [g.bit_generator.state for g in self._layer_generators]

        def as_before() -> None:
            for buffer, values in before:
                buffer.data = values
            for generator, state in zip(self._layer_generators, states, strict=True):
                generator.bit_generator.state = state

        try:
            prediction = self.network(x)
            loss = self._loss_of(prediction, y, weights)
            value = loss.item()
            wrong = None if np.isfinite(value) else f"the loss became {value}"
            if wrong is None:
                self.optimizer.zero_grad()
                loss.backward()
                wrong = self._wrong_gradient()
        except BaseException as error:
            as_before()
            if isinstance(error, Exception):
                error.add_note(
                    f"in epoch {self.epoch}, batch {self.batch + 1}; the parameters are as before it"
                )
            raise
        if wrong is not None:
            as_before()
            del prediction, loss
            found = self._provenance(x, y, weights)
            as_before()
            self.optimizer.zero_grad()
            raise FloatingPointError(
                f"fit: {wrong} in epoch {self.epoch}, batch {self.batch + 1}; the parameters are as before "
                f"this batch. {found}. {HINT}"
            )
        self.optimizer.step()
        assert self._intake.reduction is not None
        self.loss = self.tally.add(value, self._intake.reduction, prediction, y, weights)
        self.batch += 1
        self.step += 1
        if self.schedule is not None and self._schedule_every == "batch":
            self.schedule.step()

    def _taken(self, batch: Batch) -> tuple[Values, Values, Values | None]:
        x, y, *rest = batch
        weights = rest[0] if rest else None
        if isinstance(self._source, StreamedBatches):
            what = f"fit, batch {self.batch + 1} of epoch {self.epoch}"
            x, y, weights = self._intake.take(what, x, y, weights, try_row=False)
            if self._weigh is not None:
                weights = self._weigh(y, weights)
        if self._augment is not None:
            x = self._augmented(x)
        return x, y, weights

    def _augmented(self, x: Values) -> Values:
        assert self._augment is not None
        out = self._augment(x, self.generators["augment"])
        if not isinstance(out, np.ndarray) or out.shape != x.shape or out.dtype != x.dtype:
            came = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else repr(out)
            raise ValueError(f"fit: expected augment to give {x.dtype} {x.shape} again, got {came}")
        return out

    def _loss_of(self, prediction: Tensor, y: Values, weights: Values | None) -> Tensor:
        return self._loss(prediction, y) if weights is None else self._loss(prediction, y, weights=weights)

    def _wrong_gradient(self) -> str | None:
        # The squares' sum is not finite if an element is not; BLAS finds it in half the time of isfinite.
        squares = 0.0
        for p in self.optimizer.parameters:
            if p.grad is not None:
                flat = p.grad.ravel("K")
                squares += float(np.dot(flat, flat))
        if math.isfinite(squares):
            return None
        for p in self.optimizer.parameters:
            if p.grad is not None and not np.isfinite(p.grad).all():
                bad = p.grad[~np.isfinite(p.grad)][0]
                return f"the gradient of {p.name or 'a parameter'} became {bad}"
        return None

    def _provenance(self, x: Values, y: Values, weights: Values | None) -> str:
        """What `detect_nan` says about the batch."""
        try:
            with detect_nan():
                loss = self._loss_of(self.network(x), y, weights)
                if np.isfinite(loss.item()):
                    loss.backward()
        except FloatingPointError as error:
            return str(error)
        return "detect_nan, on the same batch again, found no op that made it from finite numbers"

    def require_finite_parameters(self) -> None:
        """Raise if a step went to infinity, as a finite gradient times a large rate may."""
        wrong = [name for name, p in self._named.items() if not np.isfinite(p.data).all()]
        if wrong:
            raise FloatingPointError(
                f"fit: {', '.join(wrong)} became infinite or NaN in epoch {self.epoch}, "
                f"by batch {self.batch}. {HINT}"
            )
