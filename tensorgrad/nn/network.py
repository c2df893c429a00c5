"""Network: layers in a row, with the notebook's verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Literal

import numpy as np

from tensorgrad.core import Array
from tensorgrad.core.checks import NDArray, positive_integer
from tensorgrad.core.elsewhere import explained
from tensorgrad.nn.files.archive import PathLike
from tensorgrad.nn.fit.compiling import choose_forward, take_choice
from tensorgrad.nn.fit.examples import Intake
from tensorgrad.nn.fit.metrics import Metric, measures
from tensorgrad.nn.fit.options import FitOptions
from tensorgrad.nn.fit.outputs import output_scale
from tensorgrad.nn.fit.prepare import prepare_training
from tensorgrad.nn.fit.ranks import Ranks
from tensorgrad.nn.fit.source import cut
from tensorgrad.nn.fit.tally import evaluate
from tensorgrad.nn.fit.training import Callback
from tensorgrad.nn.layer import infer, learn
from tensorgrad.nn.optimizers import Optimizer
from tensorgrad.nn.process import tuned_process
from tensorgrad.nn.schedules import Schedule
from tensorgrad.nn.sequential import History, Sequential

__all__ = ["Network"]


class Network(Sequential):
    """Layers applied one after the other.

    Parameters
    ----------
    layers : iterable of Layer

    Attributes
    ----------
    history : dict of lists
        What the last `fit` measured, an entry an epoch: ``loss``, the metrics, ``seconds``, with a schedule
        the ``learning_rate`` at the epoch's end, and with validation data ``validation_loss`` and
        ``validation_`` metrics. What an epoch lacks is NaN.
    engine : str
        What the last `fit` computed with, in a line: such as "C, compiled in 1.1 s by cc", "NumPy", or
        "NumPy: " and why nothing could be compiled.

    Notes
    -----
    Losses are reported per example, whatever the size of the batches. A loss that averages over a batch
    counts by its rows; one that sums is divided by them (by the weights of the rows, where there are some).
    Which of the two it does is found out by giving it a row once and twice; `use` can say it.

    >>> rng = np.random.default_rng(0)
    >>> network = tg.Network([tg.Dense(2, 8, rng=rng), tg.Tanh()])
    >>> network.add(tg.Dense(8, 1, rng=rng))
    >>> network.use(tg.mse)
    >>> x = rng.standard_normal((200, 2)).astype(np.float32)
    >>> y = x[:, :1] * x[:, 1:]
    >>> history = network.fit(x, y, epochs=50, learning_rate=0.1, batch_size=20, seed=0, verbose=False)
    >>> history["loss"][-1] < 0.1 * history["loss"][0]
    True
    >>> network.predict(x).shape
    (200, 1)
    """

    @explained
    def fit(
        self,
        x: Any,
        y: Array | None = None,
        epochs: int = 1,
        learning_rate: float | None = None,
        batch_size: int = 32,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        optimizer: str | Optimizer | Callable[..., Optimizer] | None = None,
        schedule: str | Schedule | Callable[[Optimizer], Schedule] | None = None,
        schedule_every: Literal["epoch", "batch"] = "epoch",
        schedule_monitor: str | None = None,
        validation: Any = None,
        validation_split: float | None = None,
        metrics: Iterable[Metric] | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        sample_weight: Array | None = None,
        class_weight: Any = None,
        augment: Callable[[Array, np.random.Generator], Array] | None = None,
        steps_per_epoch: int | None = None,
        checkpoint: PathLike | None = None,
        checkpoint_every: int | timedelta | None = None,
        resume: bool | PathLike = False,
        compile: bool | None = None,
        communicator: Any = None,
        seed: np.random.Generator | int | None = None,
        verbose: bool = True,
    ) -> History:
        """Train on mini-batches, each layer in its own mode: in training, unless you called its `eval`.

        Parameters
        ----------
        x, y : array_like
            Inputs and targets, a row an example. They are cast to the network's dtype, but for labels
            (integer targets with one axis less than the output) and integer inputs of a network with an
            `Embedding`.
        x : function, iterable or iterator, without y
            It gives batches (x, y) or (x, y, weights). A function (numpy.random.Generator) -> iterable is
            called for each epoch; what can be iterated over again, is; an iterator is read on and needs
            ``steps_per_epoch``.
        epochs, batch_size : int
            Every epoch shuffles once and keeps the last, shorter batch. A batch_size above the number of
            examples makes one batch of all. Batches of your own have the size they have.
        learning_rate, momentum, nesterov, weight_decay
            Of the optimizer that is chosen by its name or class, as far as it has them; those not given are
            its own.
        optimizer : "sgd", "adam" or "adamw", class of Optimizer, Optimizer or function, optional
            `MiniBatchSGD`, `Adam` or `AdamW`; by default the first. An optimizer, and what a function
            (parameters) -> Optimizer makes, stand instead of the four before. Gradients are clipped by
            options of the optimizer. One of some of the parameters trains these alone.
        schedule : str, Schedule or function (optimizer) -> Schedule, optional
            Stepped after each epoch, or after each batch, as ``schedule_every`` says. By name it spans the
            whole training: "cosine" (`CosineDecay` to 0), "one_cycle" (`OneCycle`), "exponential"
            (`ExponentialDecay` to a hundredth), "step" (`StepDecay`, to a tenth after each third), "warm_up"
            (`WarmUp` in the first tenth) and "reduce_on_plateau" (`ReduceOnPlateau`).
        schedule_monitor : str, optional
            The figure of the history that `ReduceOnPlateau` watches: by default ``validation_loss``, or
            ``loss`` without validation data.
        validation : (x, y) or (x, y, weights), or iterable of batches, optional
            Held-out data, evaluated after each epoch. As a function it is given the same random numbers each
            time.
        validation_split : float, optional
            The share of the examples, between 0 and 1, that is drawn at random and held out.
        metrics : list, optional
            See `tensorgrad.nn.fit.metrics.measures`. Each is measured on the predictions made in training, as
            the loss is, and on validation data, with the weights of the rows. By default, with validation
            data, the accuracy where targets are classes.
        callbacks : Callback or list of them, optional
            Such as `EarlyStopping`.
        sample_weight : array (N,), optional
            Weights of examples, for a loss that takes ``weights``. Rows of weight 0 are left out.
        class_weight : dict, array (C,) or "balanced", optional
            Weights of classes, by label; they multiply those of the examples. "balanced" is N / (C N_c).
        augment : function (images, numpy.random.Generator) -> images, optional
            Changes the inputs of each batch in training, such as `tensorgrad.data.Augment`.
        steps_per_epoch : int, optional
            Batches of an epoch, if they do not come from arrays.
        checkpoint : path, optional
            Where the state of the training is kept: written at the start, after each epoch and at the end.
        checkpoint_every : int or datetime.timedelta, optional
            Write it after so many batches too; or, within epochs and after them, whenever so much time has
            gone.
        resume : bool or path
            Go on from a checkpoint. True: from ``checkpoint`` if that exists, else begin. All arguments must
            be as they were, but for ``epochs`` and those that change no number (``checkpoint``,
            ``checkpoint_every``, ``verbose``); so must the options of the optimizer (where a schedule has
            moved a rate that is no difference), schedule, layers and loss, and what callbacks tell as their
            `Callback.settings`. The result is what an uninterrupted training would have given, bit by bit,
            ``seconds`` aside; a loss, metric or callback of your own must not keep a state that a checkpoint
            does not hold, and batches of your own must be the same again.
        compile : bool, optional
            Whether network, loss and optimizer are compiled to C, as `tensorgrad.compile` does it. None does
            so where a compiler is found and the training is long enough to gain: where NumPy would take more
            than ten seconds, estimated from the ops of a forward pass at 30 microseconds each, and for each
            row 0.15 nanoseconds a multiply-add and 10 an element of a result. What cannot be compiled goes on
            in NumPy. With ``verbose`` a line says what was compiled, or why not. True raises if it cannot be;
            False never compiles. Compiled steps leave no gradients in ``.grad``; those of an optimizer of
            your own are compiled but for its `step`. Results differ from NumPy's by rounding. A resumed
            training goes on with what it began with.
        communicator : mpi4py.MPI.Comm, optional
            Of processes that train together, its ranks, such as ``MPI.COMM_WORLD``. All call this, with the
            same arguments or it is refused; but of ``seed``, ``checkpoint``, ``checkpoint_every``, ``resume``
            and ``verbose`` those of rank 0 hold, as do its network and its optimizer. Each rank computes its
            rows of every batch, and gradients are summed: the result is that of one process to rounding, and
            the same on all ranks. What does not take a batch apart by rows is refused, but for `BatchNorm`,
            which is not compiled then. docs/how-to/several-machines.md tells more.
        seed : numpy.random.Generator or int, optional
            Of the shuffling, the validation split and the augmentation.
        verbose : bool
            Print a line an epoch; in a terminal or notebook, show a progress bar too if tqdm is installed.

        Returns
        -------
        dict of lists
            See ``history`` above. ``network.history`` is the same, and holds the finished epochs if the
            training is interrupted: by an error, or by Ctrl-C. The first Ctrl-C lets the current step be
            finished, writes the checkpoint, and raises KeyboardInterrupt; the second raises it at once,
            perhaps within a step.

        Raises
        ------
        ValueError, TypeError
            Before any training: if no loss is set, the lengths differ, the data is empty, masked or not
            finite, a shape does not fit a layer or the loss, a label is outside the classes, a number is out
            of range, a metric takes no weights where rows have some, a loss that takes logits is given what
            `softmax` or `sigmoid` made, or a resumed training is another one. Where a function of yours is
            around such a loss, that shows at the first step.
        FloatingPointError
            If the loss or a gradient is not finite. The network and the optimizer are as before that batch,
            and the message names the op and the line, as `detect_nan` does.
        CheckpointError
            If a checkpoint cannot be written.
        UncompilableError, NoCompilerError
            With ``compile=True``, if an op has no rule in C, or there is no compiler.
        RuntimeError
            If ranks of a communicator do different things. An error of one rank is raised on all of them.
        """
        options = locals()  # the arguments by name, and nothing else: so this is the first line
        del options["self"]
        ranks = Ranks(communicator)
        # From the first trial on: threads of a BLAS library that it woke would be in the way of ours.
        with learn(), ranks.together(), tuned_process(threads=ranks.count_threads()):
            prepare_training(self, FitOptions(**options), ranks).run()
        return self.history

    @explained
    def predict(self, x: Array, batch_size: int = 256, *, compile: bool | None = None) -> NDArray:
        """The network's output for ``x``, computed in batches, in inference mode and without a graph.

        It only reads: threads may predict at the same time with one network. ``compile`` is as in `fit`; None
        compiles what has 1024 rows or more and would take more than four seconds in NumPy.
        """
        positive_integer("", "batch_size", batch_size)
        choice, intake = take_choice("predict", compile), Intake(self)
        x = intake.take_inputs("predict, x", x)
        forward = choose_forward(intake, choice, x, batch_size)
        rows = (intake.cast_inputs(x[i : i + batch_size]) for i in range(0, len(x), batch_size))
        return np.concatenate([infer(forward, part).numpy() for part in rows])

    @explained
    def evaluate(
        self,
        x: Array,
        y: Array,
        batch_size: int = 256,
        *,
        metrics: Iterable[Metric] | None = None,
        sample_weight: Array | None = None,
        compile: bool | None = None,
    ) -> dict[str, float]:
        """The loss per example and the metrics, in inference mode: what `fit` reports for validation data.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`.
        batch_size : int
            So many rows are computed at once. The figures do not depend on it, but for rounding.
        metrics : list, optional
            As in `fit`; by default the accuracy where the targets are classes.
        compile : bool, optional
            As in `predict`.
        """
        positive_integer("", "batch_size", batch_size)
        choice = take_choice("evaluate", compile)
        measured = None if metrics is None else measures(metrics, output_scale(self))
        intake = Intake(self, measured)
        examples = intake.take("evaluate", x, y, sample_weight)
        forward = choose_forward(intake, choice, examples[0], batch_size)
        return evaluate(intake, cut(intake, examples, batch_size), measured, forward)

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self.layers))}])"
