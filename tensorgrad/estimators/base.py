"""What both estimators share: from the rows of a table to a trained network."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray, nonnegative, positive_integer
from tensorgrad.core.elsewhere import TABLES, Explained, explained, tell_names
from tensorgrad.core.refusals import require_values
from tensorgrad.data.batches import Rows
from tensorgrad.estimators.modules import (
    Module,
    Shape,
    build_network,
    make_optimizer,
    read_input_shape,
    require_outputs,
)
from tensorgrad.nn import Callback, EarlyStopping, Network, Optimizer, Schedule, Training
from tensorgrad.nn.fit.examples import Examples
from tensorgrad.nn.fit.fingerprint import describe, describe_network
from tensorgrad.nn.fit.metrics import Metric, measures
from tensorgrad.nn.fit.outputs import output_scale
from tensorgrad.nn.sequential import History

__all__ = ["Facts", "NetworkEstimator", "supports_partial_fit"]

# Parameters that make a network, and those that make an optimizer.
_NETWORK = ("module", "input_shape", "hidden_layer_sizes", "activation", "dropout", "dtype", "loss")
_OPTIMIZER = ("optimizer", "learning_rate", "weight_decay")

Facts: TypeAlias = dict[str, Any]  #: what is known of the targets, as attributes of the estimator


class NetworkEstimator(Explained, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Base of `TensorgradClassifier`, which documents the parameters, and `TensorgradRegressor`."""

    _default_loss: Callable[..., Tensor]
    history_: History

    def __init__(
        self,
        module: Module = None,
        *,
        input_shape: Shape | None = None,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        dropout: float = 0.0,
        dtype: DTypeLike | None = None,
        loss: str | Callable[..., Tensor] | None = None,
        optimizer: str | Callable[..., Optimizer] = "adam",
        learning_rate: float = 0.001,
        weight_decay: float = 0.0,
        schedule: str | Callable[[Optimizer], Schedule] | None = None,
        schedule_every: Literal["epoch", "batch"] = "epoch",
        max_epochs: int = 100,
        batch_size: int = 128,
        augment: Callable[[NDArray, np.random.Generator], NDArray] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        tol: float | None = 1e-4,
        metrics: Iterable[Metric] | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        warm_start: bool = False,
        compile: bool | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        options = locals()  # the arguments by name, and nothing else: so this is the first line
        del options["self"]
        self.__dict__.update(options)

    # What a kind of estimator defines

    def _learn_targets(self, y: NDArray, *, known: bool) -> Facts:
        """What to remember of the targets; ``known`` says that it must not change."""
        raise NotImplementedError

    def _take_targets(self, y: NDArray, facts: Facts) -> NDArray:
        """The targets as the loss wants them."""
        raise NotImplementedError

    def _weigh(self, targets: NDArray, weights: NDArray | None, facts: Facts) -> NDArray | None:
        """The weights of rows, with those of their classes."""
        return weights

    # Training

    @explained
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train a new network, or with ``warm_start`` the one that there is.

        Parameters
        ----------
        X : array_like or data frame (N, features)
            Dense; with ``input_shape`` also (N, \\*input_shape).
        y : array_like (N,)
            For a regressor also (N, outputs).
        sample_weight : array_like (N,), optional
            None negative. A row of weight 2 counts as two rows within its batch, one of weight 0 as none.
        X_val, y_val, sample_weight_val : optional
            Validation data; then none is split off for ``early_stopping``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If data or parameters are not as described; with ``warm_start`` if a parameter that makes the
            network is another than before.
        FloatingPointError
            If the loss or a gradient is not finite; see `Network.fit`.

        Warns
        -----
        ConvergenceWarning
            If the training was to stop by itself, by ``tol`` or ``early_stopping``, and did not before
            ``max_epochs``.
        """
        self._check_parameters()
        again = bool(self.warm_start) and hasattr(self, "module_")
        if again:
            self._require_as_made("with warm_start", _NETWORK)
        examples, facts = self._take(X, y, sample_weight, None, reset=not again)
        rng = self._make_generator()
        network = self.module_ if again else self._build(examples[0], facts["n_outputs_"], rng)
        optimizer = make_optimizer(self, network)
        held_out = None
        if X_val is not None:
            held_out, _ = self._take(X_val, y_val, sample_weight_val, facts, reset=False)
        elif y_val is not None or sample_weight_val is not None:
            raise ValueError(f"{self._name}: y_val and sample_weight_val need X_val")
        elif self.early_stopping:
            examples, held_out = self._split(examples, facts, rng)
        end, stopping = _End(), self._make_stopping()
        self._train(
            examples, network, optimizer, rng, facts, self.max_epochs, [*stopping, end],
            validation=held_out, schedule=self.schedule,
        )  # fmt: skip
        if stopping and end.reason is None:
            warnings.warn(
                f"{self._name}: Maximum iterations ({self.max_epochs}) reached and the optimization hasn't "
                "converged yet; raise max_epochs or learning_rate, or set tol=None to train all epochs",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, facts: Facts | None) -> Self:
        """One pass over the rows. At the first call the facts may be known before y."""
        first = not hasattr(self, "module_")
        if not first:
            self._require_as_made("in partial_fit", (*_NETWORK, *_OPTIMIZER))
        examples, facts = self._take(X, y, sample_weight, facts, reset=first)
        rng = self._make_generator() if first else self._rng
        network = self._build(examples[0], facts["n_outputs_"], rng) if first else self.module_
        optimizer = make_optimizer(self, network) if first else self.optimizer_
        self._train(examples, network, optimizer, rng, facts, 1)
        return self

    def _train(
        self,
        examples: Examples,
        network: Network,
        optimizer: Optimizer,
        rng: np.random.Generator,
        facts: Facts,
        epochs: int,
        stopping: Sequence[Callback] = (),
        **options: Any,
    ) -> None:
        x, y, weights = examples
        before: History = self.history_ if network is getattr(self, "module_", None) else {}
        given = [self.callbacks] if isinstance(self.callbacks, Callback) else list(self.callbacks or ())
        callbacks = copy.deepcopy(given)
        metrics = self.metrics
        if metrics is not None:
            metrics = list(measures(metrics, output_scale(network), facts.get("classes_")).values())
        network.history = {}
        try:
            network.fit(
                x, y, epochs, batch_size=self.batch_size, optimizer=optimizer,
                schedule_every=self.schedule_every, metrics=metrics, callbacks=[*callbacks, *stopping],
                sample_weight=weights, augment=self.augment, compile=self.compile, seed=rng,
                verbose=bool(self.verbose), **options,
            )  # fmt: skip
        finally:
            # After Ctrl-C, or an error later on, what the finished epochs made is kept.
            if network.history.get("loss"):
                self.module_, self.optimizer_, self._rng = network, optimizer, rng
                self.callbacks_ = callbacks
                self.history_ = _join(before, network.history)
                self.n_iter_ = len(self.history_["loss"])
                self.loss_ = self.history_["loss"][-1]
                self._input_shape = x.shape[1:]
                self._made_with = self._describe_parameters()
                self.__dict__.update(facts)

    # From parameters and data to what is trained

    def _describe_parameters(self) -> dict[str, str]:
        of_module = describe_network if isinstance(self.module, Network) else describe
        return {name: describe(getattr(self, name)) for name in (*_NETWORK, *_OPTIMIZER)} | {
            "module": str(of_module(self.module))
        }

    def _require_as_made(self, how: str, names: Sequence[str]) -> None:
        """Refuse a parameter that would have no effect on what is there already."""
        now = self._describe_parameters()
        for name in names:
            if now[name] != self._made_with[name]:
                raise ValueError(
                    f"{self._name}: {how} {name} must stay {self._made_with[name]}, got {now[name]}; a fit "
                    "with warm_start=False begins anew"
                )

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _take(
        self, X: Any, y: Any, sample_weight: Any, facts: Facts | None, *, reset: bool
    ) -> tuple[Examples, Facts]:
        """Rows, targets and weights as the network is given them, and the facts, learned if they are None."""
        require_values(y, f"{self._name}, y")
        require_values(sample_weight, f"{self._name}, sample_weight")
        kind = {} if is_classifier(self) else {"multi_output": True, "y_numeric": True}
        X, y = validate_data(
            self, self._flatten(X, self.input_shape), y, reset=reset, dtype="numeric", **kind
        )
        x = X.reshape(len(X), *read_input_shape(self._name, self.input_shape, X.shape[1]))
        weights = None if sample_weight is None else self._take_weights(sample_weight, len(x))
        if facts is None:
            facts = self._learn_targets(y, known=not reset)
        targets = self._take_targets(y, facts)
        return (x, targets, self._weigh(targets, weights, facts)), facts

    def _flatten(self, X: Any, shape: Any) -> Any:
        """Images as rows of a table."""
        require_values(X, f"{self._name}, X")
        if not isinstance(X, np.ndarray) or X.ndim <= 2:
            return X
        if shape is None or X.shape[1:] != tuple(shape):
            raise ValueError(
                f"{self._name}: expected X (N, features), got {X.shape}; for such rows give "
                f"input_shape={X.shape[1:]}"
            )
        return X.reshape(len(X), -1)

    def _take_weights(self, sample_weight: Any, rows: int) -> NDArray:
        weights: NDArray = check_array(
            sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
        )
        if weights.ndim != 1:
            raise ValueError(f"{self._name}: expected sample_weight of shape (N,), got {weights.shape}")
        check_consistent_length(weights, np.empty((rows, 0)))
        if (weights < 0).any():
            raise ValueError(f"{self._name}: expected weights of 0 or more, got {weights.min()}")
        if not weights.any():
            raise ValueError(f"{self._name}: all sample weights are zero")
        return weights

    def _make_generator(self) -> np.random.Generator:
        # A RandomState moves on from fit to fit, and an int does not: as scikit-learn's estimators do.
        return np.random.default_rng(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _build(self, x: NDArray, outputs: int, rng: np.random.Generator) -> Network:
        network = build_network(self, x, outputs, rng)
        if self.loss is not None or network.loss is None:
            network.use(type(self)._default_loss if self.loss is None else self.loss)
        require_outputs(self._name, network, x, outputs)
        return network

    def _split(self, examples: Examples, facts: Facts, rng: np.random.Generator) -> tuple[Examples, Examples]:
        x, y, weights = examples
        try:
            rows = train_test_split(
                np.arange(len(x)),
                test_size=self.validation_fraction,
                stratify=facts["classes_"][y] if is_classifier(self) else None,
                random_state=int(rng.integers(np.iinfo(np.int32).max)),
            )
        except ValueError as error:
            raise ValueError(
                f"{self._name}: early_stopping is to hold out validation_fraction={self.validation_fraction} "
                f"of {len(x)} rows, a like share of each class: {error}"
            ) from error
        train, held_out = (
            (Rows(x, part), y[part], None if weights is None else weights[part])
            for part in map(np.sort, rows)
        )
        return train, held_out

    def _check_parameters(self) -> None:
        for name in ("max_epochs", "batch_size"):
            positive_integer(self._name, name, getattr(self, name))
        if self.n_iter_no_change != np.inf:
            positive_integer(self._name, "n_iter_no_change", self.n_iter_no_change)
        if self.tol is not None:
            nonnegative(self._name, "tol", self.tol)

    def _make_stopping(self) -> list[Callback]:
        if self.early_stopping:
            return [EarlyStopping("validation_loss", self.n_iter_no_change, min_delta=self.tol or 0.0)]
        if self.tol is None:
            return []
        return [EarlyStopping("loss", self.n_iter_no_change, min_delta=self.tol, restore_best=False)]

    # Inference

    def _compute_outputs(self, X: Any) -> NDArray:
        """What the network gives for the rows."""
        check_is_fitted(self)
        X = validate_data(self, self._flatten(X, self._input_shape), reset=False, dtype="numeric")
        return self.module_.predict(X.reshape(len(X), *self._input_shape), compile=self.compile)


class _End(Callback):
    """Notes why a training was stopped; None if it was not."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def on_train_end(self, training: Training) -> None:
        self.reason = training.stopped


def supports_partial_fit(estimator: NetworkEstimator) -> bool:
    """True, or an AttributeError that says which option needs all rows at once."""
    balanced = isinstance(getattr(estimator, "class_weight", None), str)
    needy = {
        "early_stopping": estimator.early_stopping,
        "schedule": estimator.schedule is not None,
        "class_weight='balanced'": balanced,
    }
    for option, is_set in needy.items():
        if is_set:
            raise AttributeError(
                f"{type(estimator).__name__}: partial_fit does not go with {option}, which needs all rows"
            )
    return True


def _join(before: History, after: History) -> History:
    """Two histories as one, NaN where one of them has no such figure."""
    lengths = [len(history.get("loss", ())) for history in (before, after)]
    return {
        key: [
            value
            for history, length in zip((before, after), lengths, strict=True)
            for value in history.get(key, [float("nan")] * length)
        ]
        for key in {**before, **after}
    }


tell_names(NetworkEstimator, TABLES["estimator"])
