"""Training: the loop, and where it stands; and callbacks, which are told."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgrad.core import Tensor, detect_nan
from tensorgrad.core.checks import NDArray
from tensorgrad.core.elsewhere import TABLES, Explained, advise_value, find_name
from tensorgrad.core.refusals import require_values
from tensorgrad.data.batches import StreamedBatches
from tensorgrad.graph.recorded import Recorded
from tensorgrad.nn.files.trees import generator_state, set_generator_state
from tensorgrad.nn.fit.compiling import take_choice
from tensorgrad.nn.fit.engine import Engine
from tensorgrad.nn.fit.examples import EVALUATED, Data, Examples, Intake
from tensorgrad.nn.fit.metrics import Measure, Mode, better, lenient
from tensorgrad.nn.fit.options import FitOptions, monitored
from tensorgrad.nn.fit.outputs import are_classes, require_logits
from tensorgrad.nn.fit.ranks import Part, Ranks, find_norms
from tensorgrad.nn.fit.source import Source, validation_batches
from tensorgrad.nn.fit.tally import Tally, evaluate
from tensorgrad.nn.layer import infer
from tensorgrad.nn.optimizers import Optimizer
from tensorgrad.nn.schedules import Schedule
from tensorgrad.nn.sequential import ForwardState, History, loss_of

__all__ = ["Callback", "Training"]

HINT = "A smaller learning rate usually helps"


class Callback(Explained):
    """Base of all callbacks: override what you need. Each method is given the one `Training`.

    In the order of calls: `on_train_begin`; for each epoch `on_epoch_begin`, for each batch `on_gradients`
    before the step and `on_batch_end` after it, and `on_epoch_end` when the history has its figures;
    `on_train_end`, if no error ended the training; `close` at the end of any. A callback that keeps something
    from call to call gives it in `state`, so that a resumed run goes on with it. With a communicator it is
    told on every rank, and must do the same on each.

    >>> class Rates(tg.Callback):
    ...     def on_epoch_end(self, training):
    ...         print(training.epoch, training.optimizer.learning_rate)
    >>> network = tg.Network([tg.Dense(1, 1, rng=0)])
    >>> network.use(tg.mse)
    >>> x = np.ones((4, 1), np.float32)
    >>> history = network.fit(x, x, 2, 0.1, callbacks=[Rates()], verbose=False)
    1 0.1
    2 0.1
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls):
            events = [each for each in vars(Callback) if each.startswith("on_")]
            meant = TABLES["callback"].get(name) or (name[:3] == "on_" and find_name(name, events))
            if meant and name not in events:
                raise TypeError(f"{cls.__name__}.{name} would never be called; did you mean {meant}?")

    def on_train_begin(self, training: Training) -> None:
        """Before the first epoch, or the first after a resume."""

    def on_epoch_begin(self, training: Training) -> None:
        """Before the first batch of an epoch, or before the rest of an epoch after a resume."""

    def on_gradients(self, training: Training) -> None:
        """Between the backward pass and the step: ``p.grad`` of ``training.optimizer.parameters`` is at hand.

        The gradients are those of the whole batch, finite and not yet clipped. To change one, assign it:
        ``p.grad = 0.5 * p.grad``. If a callback has such a method, compiled code makes the gradients alone,
        and NumPy the step.

        >>> class Norms(tg.Callback):
        ...     def on_gradients(self, training):
        ...         print(*(round(float(np.linalg.norm(p.grad)), 4) for p in training.optimizer.parameters))
        >>> network = tg.Network([tg.Dense(1, 1, init="zeros")])
        >>> network.use(tg.mse)
        >>> x = np.ones((4, 1), np.float32)
        >>> history = network.fit(x, x, 2, 0.125, callbacks=[Norms()], verbose=False)
        2.0 2.0
        1.0 1.0
        """

    def on_batch_end(self, training: Training) -> None:
        """After each step; ``training.loss`` is the loss of its batch per example."""

    def on_epoch_end(self, training: Training) -> None:
        """After an epoch and its validation; ``training.figures`` holds what it added to the history."""

    def on_train_end(self, training: Training) -> None:
        """After the last epoch, and after the last checkpoint."""

    def close(self) -> None:
        """At the very end, after an error or Ctrl-C too."""

    def settings(self) -> dict[str, Any]:
        """What must be the same when a training is resumed, or it is refused: numbers, strings, functions."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a resumed run needs: dicts, lists, arrays, strings and numbers."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""


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
    rank, ranks : int
        Which of the ranks of a communicator this is, and how many there are; 0 and 1 without one.
    engine : Engine
        ``str(training.engine)`` says in a line what makes the steps.
    """

    def __init__(
        self,
        options: FitOptions,
        intake: Intake,
        source: Source,
        held_out: Data | None,
        measures: Mapping[str, Measure] | None,
        optimizer: Optimizer,
        schedule: Schedule | None,
        callbacks: Sequence[Callback],
        rng: np.random.Generator,
        ranks: Ranks,
    ) -> None:
        network = intake.network
        self._together, self.rank, self.ranks = ranks, ranks.rank, ranks.size
        self.network, self.optimizer, self.schedule = network, optimizer, schedule
        self.epochs = options.epochs
        self.callbacks = callbacks
        #: Told after the others, and before them at the end.
        self.checkpoints = Callback()
        self.history: History = {}
        self.epoch = self.batch = self.step = 0
        self.batches = source.steps
        self.loss = float("nan")
        self.figures: dict[str, float] = {}
        self.stopped: str | None = None
        self.resumed = False
        # The accuracy that validation data has by itself, training has too.
        counted = measures is not None or _may_be_classes(intake, held_out)
        watched = _make_lenient("fit", measures) if counted else {}
        self.tally = Tally(intake, watched)
        self._validation_measures = _make_lenient("fit, validation", measures)
        self.seconds = 0.0  # of the epoch
        self.generators = {"": rng}
        if options.augment is not None:
            self.generators["augment"] = np.random.default_rng(int(rng.integers(1 << 62)))
        self.generators |= {f"network {path}": g for path, g in network.named_generators().items()}
        self.epoch_start = generator_state(rng)
        self._options, self._source, self._held_out, self._measures = options, source, held_out, measures
        self.monitor = monitored(options, held_out is not None)
        # Found once: the search goes through everything.
        self._forward_state = ForwardState(network)
        self._named = network.named_parameters()
        stepped = {id(p) for p in optimizer.parameters}
        self._frozen = [p for p in self._named.values() if id(p) not in stepped]
        self._compute_loss = loss_of(network)
        self._splits = ranks.size > 1 or any(
            type(each).on_gradients is not Callback.on_gradients for each in callbacks
        )
        choice = take_choice("fit", options.compile)
        # What ranks exchange in the backward pass must be of the loss of all, and is not compiled.
        self._scales = ranks.size > 1 and bool(find_norms(network))
        if self._scales and choice:
            raise ValueError("fit: BatchNorm on several ranks is not compiled; leave compile=True away")
        choice = False if self._scales else choice
        rows = None
        if held_out is not None and not isinstance(held_out, StreamedBatches):
            rows = -(-len(held_out[0]) // ranks.size)
        self.engine = Engine(
            network, optimizer, choice, self._forward_state, epochs=self.epochs, batches=self.batches,
            held_out=rows, predicts=watched != {}, splits=self._splits, verbose=options.verbose,
        )  # fmt: skip

    @property
    def rows(self) -> int:
        """Examples of the epoch that are done."""
        return self.tally.rows

    @property
    def validates(self) -> bool:
        """Whether there is validation data."""
        return self._held_out is not None

    @property
    def finished(self) -> int:
        """Epochs that are in the history."""
        return len(self.history.get("loss", ()))

    def better(self, figure: str) -> Mode | None:
        """Whether lower or higher values of a figure of the history are better, "min" or "max".

        None if that is not known: of figures that are neither a loss, the accuracy nor scikit-learn's.
        """
        return better(figure, self._measures)

    def foresee(self) -> list[str]:
        """The names of the figures that an epoch will add to the history; callbacks may add more."""
        own = list(self._measures or ())
        names = ["loss", *own, "seconds", *["learning_rate"] * (self.schedule is not None)]
        if self._held_out is None:
            return names
        if self._measures is None and self._may_hold_classes(self._held_out):
            own = ["accuracy"]
        return [*names, *(f"validation_{name}" for name in ("loss", *own))]

    def _may_hold_classes(self, data: Data) -> bool:
        output = self.tally.intake.output
        if isinstance(data, StreamedBatches) or output is None:
            return True
        return are_classes(np.zeros((1, *output[1:])), np.asarray(data[1][:1]))

    def stop(self, reason: str) -> None:
        """Let this epoch be the last. Called between epochs or in one, which is finished first."""
        self.stopped = str(reason)

    def prepare_engine(self) -> None:
        """Compile what the training and its validation need, where that pays."""
        self.engine.prepare(self._source.samples(self.epochs))
        if self._held_out is not None and not isinstance(self._held_out, StreamedBatches):
            count = EVALUATED * self.ranks
            places = self._together.rows(min(count, len(self._held_out[0])))
            rows = self.tally.intake.cast_inputs(self._held_out[0][:count][places])
            infer(self.engine.forward.prepare, rows)
        self.engine.tell()

    def run(self) -> None:
        """Train all epochs that are left."""
        ranks = self._together
        with ranks.interrupts:
            try:
                self._tell("on_train_begin")
                self.checkpoints.on_train_begin(self)
                self.network.history = self.history
                while self.finished < self.epochs and self.stopped is None:
                    self._run_epoch()
                    self._obey()
                self.checkpoints.on_train_end(self)
                self._tell("on_train_end")
                ranks.meet("the end of the training")
                if ranks.interrupted:
                    raise KeyboardInterrupt
            finally:
                for callback in self.callbacks:
                    callback.close()

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def _obey(self) -> None:
        if self._together.interrupted:
            self.checkpoints.on_train_end(self)
            raise KeyboardInterrupt

    # An epoch

    def _run_epoch(self) -> None:
        begun = time.perf_counter() - self.seconds
        self.epoch = self.finished + 1
        batches = self._begin_epoch()
        self._tell("on_epoch_begin")
        # What overflows shows in the loss, the gradients and the parameters, which are checked.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for x, y, weights in batches:
                with self._together.sharing(len(y)):
                    self._train_step(self._augment(x), y, weights)
                self._tell("on_batch_end")
                self.seconds = time.perf_counter() - begun
                self.checkpoints.on_batch_end(self)
                self._obey()
        self.require_finite_parameters()
        self.figures = {**self.tally.figures(), "seconds": time.perf_counter() - begun}
        if self.schedule is not None:
            self.figures["learning_rate"] = self.optimizer.groups[0].learning_rate
        if self._held_out is not None:
            intake, forward = self.tally.intake, self.engine.forward
            batches = validation_batches(intake, self._held_out, self._together)
            figures = evaluate(intake, batches, self._validation_measures, forward, self._together)
            self.figures |= {f"validation_{key}": value for key, value in figures.items()}
        self.figures = self._together.broadcast("the figures of an epoch", self.figures)
        before = self.finished
        for key in dict.fromkeys((*self.history, *self.figures)):  # every list has an entry an epoch
            self.history.setdefault(key, [math.nan] * before).append(self.figures.get(key, math.nan))
        self._step_schedule()
        self._tell("on_epoch_end")
        self._agree()
        self.batch, self.seconds = 0, 0.0
        self.checkpoints.on_epoch_end(self)

    def _agree(self) -> None:
        """Let all ranks stop where one of them stops; refuse to go on if their networks are not the same."""
        if self.ranks == 1:
            return
        reasons = self._together.collect("the end of an epoch", self.stopped)
        self.stopped = next((reason for reason in reasons if reason is not None), None)
        state = b"".join(x.tobytes() for x in self.network.state().values())
        self._together.meet(f"the parameters after epoch {self.epoch}", state)

    def _begin_epoch(self) -> Iterator[Examples]:
        rng = self.generators[""]
        if self.batch == 0:
            self.tally.clear()
            self.epoch_start = generator_state(rng)
            return self._source.read(rng, self.epoch, skip=0, seen=self.step)
        # Resumed within the epoch: what the generator gave at its beginning is drawn again.
        now = {name: generator_state(g) for name, g in self.generators.items()}
        set_generator_state(rng, self.epoch_start)
        batches = self._source.read(rng, self.epoch, skip=self.batch, seen=self.step)
        for name, state in now.items():
            set_generator_state(self.generators[name], state)
        return batches

    def _step_schedule(self) -> None:
        if self.schedule is None or self._options.schedule_every == "batch":
            return
        if not self.schedule.needs_metric:
            self.schedule.step()
            return
        self.require_monitor(self.figures)
        if math.isnan(self.figures[self.monitor]):
            name = type(self.schedule).__name__
            told = f"fit: {self.monitor} is NaN in epoch {self.epoch}, so that {name} makes no step"
            warnings.warn(told, RuntimeWarning, stacklevel=2)
            return
        self.schedule.step(self.figures[self.monitor])

    def require_monitor(self, figures: Iterable[str]) -> None:
        """ValueError unless what the schedule watches is among the figures."""
        if self.schedule is not None and self.schedule.needs_metric and self.monitor not in figures:
            raise ValueError(
                f"fit: expected schedule_monitor to be one of {', '.join(figures)}, got {self.monitor!r}"
                + advise_value(self.monitor, figures)
            )

    # A step

    def _augment(self, x: NDArray) -> NDArray:
        """A batch of inputs for the network; where it is augmented, all ranks do that and take their rows."""
        augment = self._options.augment
        if augment is None:
            return x
        out = augment(x := np.asarray(x), self.generators["augment"])
        require_values(out, "fit, augment")
        if not isinstance(out, np.ndarray) or out.shape != x.shape or out.dtype != x.dtype:
            came = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else repr(out)
            raise ValueError(f"fit: expected augment to give {x.dtype} {x.shape} again, got {came}")
        return out if self.ranks == 1 else out[self._together.rows(len(out))]

    def _train_step(self, x: NDArray, y: NDArray, weights: NDArray | None) -> None:
        """Make a step; where that fails, all is as it was before the batch."""
        self._forward_state.save()
        part = self._together.take(y, weights, self.tally.intake.reduction)
        try:
            made = self.engine.step((x, part.y, part.weights))
            loss, prediction, wrong = (*made, None) if made else self._differentiate(np.asarray(x), part)
            if wrong is None and self._splits:
                prediction = prediction if self.tally.predicts else None
                where = f"batch {self.batch + 1} of epoch {self.epoch}"
                loss, prediction = self._together.join(
                    where, part, loss, prediction, self.optimizer.parameters,
                    1.0 if self._scales else part.factor,
                )  # fmt: skip
                self._tell("on_gradients")
                wrong = self._find_wrong_gradient(" between the backward pass and the step")
        except BaseException as error:
            self._forward_state.restore()
            if isinstance(error, Exception):
                error.add_note(
                    f"in epoch {self.epoch}, batch {self.batch + 1}; the parameters are as before it"
                )
            raise
        if wrong is not None:
            self._forward_state.restore()
            del prediction
            with self._together.sharing(len(y), alone=True):
                found = self._find_provenance(np.asarray(x), part.y, part.weights)
            self._forward_state.restore()
            self.optimizer.zero_grad()
            raise FloatingPointError(
                f"fit: {wrong} in epoch {self.epoch}, batch {self.batch + 1}; the parameters are as before "
                f"this batch. {found}. {HINT}"
            )
        if made is None or not self.engine.steps:
            self.optimizer.step()
        self.loss = self.tally.add(loss, prediction, y, weights)
        self.batch += 1
        self.step += 1
        if self.schedule is not None and self._options.schedule_every == "batch":
            self.schedule.step()

    def _differentiate(self, x: NDArray, part: Part) -> tuple[float, Tensor, str | None]:
        """The loss, the prediction, and what is not finite; the gradients are in the parameters then."""
        prediction = self.network(x)
        loss = self._compute_loss(prediction, part.y, part.weights)
        value = loss.item()
        if not np.isfinite(value):
            return value, prediction, f"the loss became {value}"
        if not self.step:
            require_logits(loss)
        self.optimizer.zero_grad()
        for p in self._frozen:  # or their gradients would add up
            p.zero_grad()
        loss.backward(np.full(loss.shape, part.factor) if self._scales else None)
        return value, prediction, self._find_wrong_gradient()

    def _find_wrong_gradient(self, where: str = "") -> str | None:
        reached = [p for p in self.optimizer.parameters if p.grad is not None]
        flat = (np.asarray(p.grad).ravel("K") for p in reached)
        # The squares' sum is not finite if an element is not; BLAS finds it in half the time of isfinite.
        if math.isfinite(sum(float(np.dot(g, g)) for g in flat)):
            return None
        for p in reached:
            bad = p.grad[~np.isfinite(p.grad)]
            if bad.size:
                return f"the gradient of {p.name or 'a parameter'} became {bad[0]}{where}"
        return None

    def _find_provenance(self, x: NDArray, y: NDArray, weights: NDArray | None) -> str:
        """What `detect_nan` says about the batch, with the layer."""
        where, loss, watch = "", None, detect_nan()
        try:
            with watch:
                prediction = self.network(x)
                where = "in the loss, "
                loss = self._compute_loss(prediction, y, weights)
                if np.isfinite(loss.item()):
                    loss.backward()
        except FloatingPointError as error:
            if loss is not None and watch.found is not None:
                group = Recorded(loss).layer_of(watch.found)
                where = where if group is None else f"in {group.name}, {group.layer!r}, "
            layers = getattr(error, "__notes__", ())  # from the inner ones to the outer
            return "".join([*(f"{layer}: " for layer in reversed(layers)), where, str(error)])
        return "detect_nan, on the same batch again, found no op that made it from finite numbers"

    def require_finite_parameters(self) -> None:
        """Raise if a step went to infinity, as a finite gradient times a large rate may."""
        wrong = [name for name, p in self._named.items() if not np.isfinite(p.data).all()]
        if wrong:
            raise FloatingPointError(
                f"fit: {', '.join(wrong)} became infinite or NaN in epoch {self.epoch}, "
                f"by batch {self.batch}. {HINT}"
            )


def _may_be_classes(intake: Intake, held_out: Data | None) -> bool:
    """Whether held-out targets may be classes, by the first of them."""
    if held_out is None or isinstance(held_out, StreamedBatches) or intake.output is None:
        return held_out is not None
    first = np.asarray(held_out[1][:8])
    return are_classes(np.empty((len(first), *intake.output[1:])), first)


def _make_lenient(what: str, measures: Mapping[str, Measure] | None) -> Mapping[str, Measure] | None:
    return None if measures is None else {name: lenient(what, each) for name, each in measures.items()}
