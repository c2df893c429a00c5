"""What both estimators share: from the rows of a table to a trained network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tensorgrad.core import Tensor
from tensorgrad.estimators.modules import (
    Module,
    Shape,
    copied_or_built,
    dense,
    input_shape_of,
    optimizer_of,
    require_outputs,
)
from tensorgrad.nn import Callback, EarlyStopping, Network, Optimizer, Schedule
from tensorgrad.nn.fit.metrics import Metric
from tensorgrad.nn.sequential import History

Values: TypeAlias = np.ndarray[Any, Any]
Examples: TypeAlias = tuple[Values, Values, Values | None]  #: x in the network's shape, targets, weights


class NetworkEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
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
        loss: Callable[..., Tensor] | None = None,
        optimizer: str | Callable[..., Optimizer] = "adam",
        learning_rate: float = 0.001,
        weight_decay: float = 0.0,
        schedule: Callable[[Optimizer], Schedule] | None = None,
        schedule_every: Literal["epoch", "batch"] = "epoch",
        max_epochs: int = 100,
        batch_size: int = 128,
        augment: Callable[[Values, np.random.Generator], Values] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float | None = 1e-4,
        metrics: Iterable[Metric] | None = None,
        callbacks: Iterable[Callback] | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.module = module
        self.input_shape = input_shape
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.dtype = dtype
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.schedule_every = schedule_every
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.augment = augment
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.metrics = metrics
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    # What a kind of estimator defines

    def _learn_targets(self, y: Values, *, known: bool) -> dict[str, Any]:
        """What to remember of the targets, as attributes; ``known`` says that it must not change."""
        raise NotImplementedError

    def _targets(self, y: Values, facts: dict[str, Any]) -> Values:
        """The targets as the loss wants them."""
        raise NotImplementedError

    def _weights(self, targets: Values, weights: Values | None, facts: dict[str, Any]) -> Values | None:
        """The weights of rows, with those of their classes."""
        return weights

    def _check_network(self, network: Network) -> None:
        """Raise if the network does not fit its loss."""

    # Training

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
            If data or parameters are not as described.
        FloatingPointError
            If the loss or a gradient is not finite; see `Network.fit`.
        """
        again = bool(self.warm_start) and hasattr(self, "module_")
        x, y = self._validated(X, y, reset=not again)
        weights = self._sample_weight(sample_weight, len(x))
        facts = self._learn_targets(y, known=again)
        targets = self._targets(y, facts)
        examples = (x, targets, self._weights(targets, weights, facts))
        rng = self._generator()
        network = self.module_ if again else self._built(x, facts["n_outputs_"], rng)
        optimizer = self._optimizer(network)
        held_out = None
        if X_val is not None:
            x_val, y_val = self._validated(X_val, y_val, reset=False)
            val_targets = self._targets(y_val, facts)
            val_weights = self._sample_weight(sample_weight_val, len(x_val))
            held_out = (x_val, val_targets, self._weights(val_targets, val_weights, facts))
        elif y_val is not None or sample_weight_val is not None:
            raise ValueError(f"{self._name}: y_val and sample_weight_val need X_val")
        elif self.early_stopping:
            examples, held_out = self._split(examples, rng)
        self._train(
            examples, network, optimizer, rng, facts, self.max_epochs,
            validation=held_out, schedule=self.schedule, stopping=self._stopping(held_out),
        )  # fmt: skip
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, facts: dict[str, Any] | None) -> Self:
        """One pass over the rows. At the first call the facts may be known before y."""
        first = not hasattr(self, "module_")
        x, y = self._validated(X, y, reset=first)
        weights = self._sample_weight(sample_weight, len(x))
        if facts is None:
            facts = self._learn_targets(y, known=not first)
        targets = self._targets(y, facts)
        rng = self._generator() if first else self._rng
        network = self._built(x, facts["n_outputs_"], rng) if first else self.module_
        optimizer = self._optimizer(network) if first else self.optimizer_
        examples = (x, targets, self._weights(targets, weights, facts))
        self._train(examples, network, optimizer, rng, facts, 1)
        return self

    def _train(
        self,
        examples: Examples,
        network: Network,
        optimizer: Optimizer,
        rng: np.random.Generator,
        facts: dict[str, Any],
        epochs: int,
        *,
        validation: Examples | None = None,
        schedule: Callable[[Optimizer], Schedule] | None = None,
        stopping: Sequence[Callback] = (),
    ) -> None:
        x, y, weights = examples
        before: History = self.history_ if network is getattr(self, "module_", None) else {}
        callbacks = copy.deepcopy(list(self.callbacks or ()))
        network.history = {}
        try:
            network.fit(
                x, y, epochs, batch_size=self.batch_size, optimizer=optimizer,
                schedule=schedule, schedule_every=self.schedule_every,
                validation=validation if validation is None or validation[2] is not None else validation[:2],
                metrics=self.metrics, callbacks=[*callbacks, *stopping],
                sample_weight=weights, augment=self.augment, seed=rng, verbose=bool(self.verbose),
            )  # fmt: skip
        finally:
            # After Ctrl-C, or an error later on, what the finished epochs made is kept.
            if network.history.get("loss"):
                network.eval()  # for good: predictions of several threads do not change the mode
                self.module_, self.optimizer_, self._rng = network, optimizer, rng
                self.callbacks_ = callbacks
                self.history_ = _joined(before, network.history)
                self.n_iter_ = len(self.history_["loss"])
                self.loss_ = self.history_["loss"][-1]
                self._input_shape = x.shape[1:]
                for attribute, value in facts.items():
                    setattr(self, attribute, value)

    # From parameters and data to what is trained

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _validated(self, X: Any, y: Any, *, reset: bool) -> tuple[Values, Any]:
        kind = {} if is_classifier(self) else {"multi_output": True, "y_numeric": True}
        X, y = validate_data(self, self._flat(X, self.input_shape), y, reset=reset, dtype="numeric", **kind)
        return X.reshape(len(X), *input_shape_of(self._name, self.input_shape, X.shape[1])), y

    def _flat(self, X: Any, shape: Any) -> Any:
        """Images as rows of a table."""
        if shape is not None and isinstance(X, np.ndarray) and X.ndim > 2 and X.shape[1:] == tuple(shape):
            return X.reshape(len(X), -1)
        return X

    def _sample_weight(self, sample_weight: Any, rows: int) -> Values | None:
        if sample_weight is None:
            return None
        weights: Values = check_array(
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

    def _generator(self) -> np.random.Generator:
        # A RandomState moves on from fit to fit, and an int does not: as scikit-learn's estimators do.
        return np.random.default_rng(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _built(self, x: Values, outputs: int, rng: np.random.Generator) -> Network:
        shape = x.shape[1:]
        if self.module is None:
            network = dense(
                self._name, shape, outputs, self.hidden_layer_sizes, self.activation, self.dropout,
                self._dtype_for(x), rng,
            )  # fmt: skip
        else:
            network = copied_or_built(self._name, self.module, shape, outputs, rng)
        if self.loss is not None or network.loss is None:
            network.use(type(self)._default_loss if self.loss is None else self.loss)
        require_outputs(self._name, network, x, outputs)
        self._check_network(network)
        return network

    def _dtype_for(self, x: Values) -> np.dtype[Any]:
        if self.dtype is not None:
            return np.dtype(self.dtype)
        # The smaller of the two that holds the values exactly.
        return np.dtype(np.float32 if np.result_type(x, np.float32) == np.float32 else np.float64)

    def _optimizer(self, network: Network) -> Optimizer:
        return optimizer_of(
            self._name, self.optimizer, self.learning_rate, self.weight_decay, network.parameters()
        )

    def _split(self, examples: Examples, rng: np.random.Generator) -> tuple[Examples, Examples]:
        x, y, weights = examples
        rows = train_test_split(
            np.arange(len(x)),
            test_size=self.validation_fraction,
            stratify=y if is_classifier(self) else None,
            random_state=int(rng.integers(np.iinfo(np.int32).max)),
        )
        train, held_out = (
            (x[part], y[part], None if weights is None else weights[part]) for part in map(np.sort, rows)
        )
        return train, held_out

    def _stopping(self, validation: Examples | None) -> list[Callback]:
        if self.early_stopping:
            assert validation is not None
            return [EarlyStopping("validation_loss", self.n_iter_no_change, min_delta=self.tol or 0.0)]
        if self.tol is None:
            return []
        return [EarlyStopping("loss", self.n_iter_no_change, min_delta=self.tol, restore_best=False)]

    # Use

    def _outputs(self, X: Any) -> Values:
        """What the network gives for the rows."""
        check_is_fitted(self)
        X = validate_data(self, self._flat(X, self._input_shape), reset=False, dtype="numeric")
        return self.module_.predict(X.reshape(len(X), *self._input_shape))


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


def _joined(before: History, after: History) -> History:
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
