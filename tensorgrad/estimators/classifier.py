"""TensorgradClassifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.estimators.base import Facts, NetworkEstimator, supports_partial_fit
from tensorgrad.estimators.modules import Module, Shape
from tensorgrad.nn import Callback, Optimizer, Schedule
from tensorgrad.nn.fit.metrics import Metric
from tensorgrad.nn.fit.outputs import output_scale, probabilities
from tensorgrad.ops import cross_entropy

__all__ = ["TensorgradClassifier"]


class TensorgradClassifier(ClassifierMixin, NetworkEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network that classifies, as an estimator of scikit-learn.

    The parameters are called as in scikit-learn's `MLPClassifier` and `HistGradientBoostingClassifier` where
    these have them, and else as in skorch (``module``, ``optimizer``, ``max_epochs``, ``callbacks``) and in
    `Network.fit`.

    Parameters
    ----------
    module : Network or function (input_shape, outputs, rng) -> Network, optional
        What is trained. A network is copied, with the weights it has, at each `fit`. A function, or an object
        that can be called as one, is called as ``module(input_shape, outputs, rng=generator)`` and makes a
        network with one output, a logit, for each class. By default a dense network, of the next five.
    input_shape : tuple of int, optional
        Shape of a row, such as (28, 28, 1) for images (N, H, W, C): the rows of X are reshaped to it.
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers.
    activation : str
        "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh" or "identity".
    dropout : float
        Share of the units of each hidden layer that is left out in training.
    dtype : dtype, optional
        float32 or float64. By default the smaller one that holds X exactly: float32 for float32 and small
        integers such as pixels, float64 else. float32 is up to twice as fast.
    loss : function (logits, labels) -> scalar Tensor, or its name, optional
        As in `Network.use`. By default that of the network if it has one, else `tensorgrad.cross_entropy`.
    optimizer : "adam", "adamw", "sgd" or function
        A function is called as ``optimizer(parameters, learning_rate=..., weight_decay=...)``, for example
        ``functools.partial(tg.MiniBatchSGD, momentum=0.9)``.
    learning_rate, weight_decay : float
        Of the optimizer.
    schedule : str or function (optimizer) -> Schedule, optional
        Of the learning rate; a name is one of those of `Network.fit`, such as "cosine".
    schedule_every : "epoch" or "batch"
        When the schedule steps.
    max_epochs : int
        Passes over the data at most. A training that was to stop before by ``tol`` or ``early_stopping``, and
        has not, gives a ConvergenceWarning.
    batch_size : int
        Rows of a step. All, if there are fewer.
    augment : function (rows, numpy.random.Generator) -> rows, optional
        Changes the inputs of each batch in training, such as `tensorgrad.data.Augment`.
    early_stopping : bool
        Whether to hold out ``validation_fraction`` of the rows, a like share of each class; to stop when the
        loss on them has not improved by more than ``tol`` for ``n_iter_no_change`` epochs; and to restore the
        best weights. If False, the training stops when the loss in training has not improved so.
    validation_fraction : float
        Between 0 and 1.
    n_iter_no_change : int or numpy.inf
        Epochs without improvement.
    tol : float or None
        Least improvement. With None and no ``early_stopping`` all epochs are trained.
    metrics : list, optional
        What the history holds beside the loss; see `tensorgrad.nn.fit.metrics.measures`.
    callbacks : Callback or list of them, optional
        Copied at each `fit`.
    class_weight : dict or "balanced", optional
        Weights of classes by label, 1 for those not named; they multiply those of rows. "balanced" is
        W / (C W_c), where W is the sum of all weights of rows, W_c that of the class.
    warm_start : bool
        Whether `fit` goes on from the weights of the last one, with a new optimizer.
    compile : bool, optional
        Whether training and predictions are compiled to C: True, False, or None for where it pays; see
        `Network.fit` and `Network.predict`. ``module_.engine`` says what trained.
    random_state : int, RandomState or None
        Where initial weights, order of rows, dropout, augmentation and validation split come from.
    verbose : bool
        Print a line an epoch.

    Attributes
    ----------
    classes_ : array (C,)
        The labels in the order of the outputs.
    module_ : Network
        The trained network.
    history_ : dict of lists
        An entry an epoch, over all calls of `partial_fit` or of `fit` with ``warm_start``; see `Network`.
    n_iter_ : int
        Epochs in the history.
    loss_ : float
        The last training loss per row.
    optimizer_, callbacks_
        As the training left them.
    n_features_in_ : int
    feature_names_in_ : array of str
        Of a data frame.
    n_outputs_ : int
        The number of classes.

    Notes
    -----
    Numbers are computed in the dtype of the network. In float32 the predictions for a row depend, in the last
    digits, on the rows that it is computed with.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from tensorgrad.estimators import TensorgradClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> network = TensorgradClassifier(learning_rate=0.01, tol=None, random_state=0)
    >>> model = make_pipeline(StandardScaler(), network)
    >>> model.fit(x, y).score(x, y) > 0.95
    True
    """

    _default_loss = cross_entropy

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
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        warm_start: bool = False,
        compile: bool | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        options = locals()  # the arguments by name, and nothing else: so this is the first line
        del options["self"]
        self.__dict__.update(options)

    @available_if(supports_partial_fit)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train one pass over these rows: with the weights, optimizer and random numbers of the last call.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array_like (C,), needed at the first call
            All labels that will come. Later calls may leave it away, or must repeat it.

        Raises
        ------
        ValueError
            As in `fit`; if ``classes`` is missing or another than before, or y holds other labels.
        AttributeError
            With ``early_stopping``, a ``schedule`` or ``class_weight="balanced"``, which need all rows.
        """
        first = not hasattr(self, "module_")
        if first and classes is None:
            raise ValueError(f"{self._name}: classes must be passed on the first call to partial_fit")
        if classes is not None:
            classes = np.unique(classes)
            if not first and not np.array_equal(classes, self.classes_):
                raise ValueError(f"{self._name}: classes {classes} differ from those before, {self.classes_}")
        return self._partial_fit(X, y, sample_weight, self._know(classes if first else self.classes_))

    def predict_proba(self, X: Any) -> NDArray:
        """Probabilities (N, C) of the classes, in the order of ``classes_``; float64."""
        return probabilities("predict_proba", self._compute_outputs(X), output_scale(self.module_))

    def predict_log_proba(self, X: Any) -> NDArray:
        """Logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):  # of a probability of 0
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> NDArray:
        """The labels (N,) of the classes with the largest outputs."""
        found = self._compute_outputs(X).argmax(axis=1)
        return self.classes_[found]  # type: ignore[no-any-return]

    def _know(self, classes: NDArray) -> Facts:
        if len(classes) < 2:
            only = classes.tolist()[0]
            raise ValueError(
                f"{self._name}: expected at least two classes, but there is only one class, {only!r}"
            )
        return {"classes_": classes, "n_outputs_": len(classes)}

    def _learn_targets(self, y: NDArray, *, known: bool) -> Facts:
        check_classification_targets(y)
        classes = np.unique(y)
        if known and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"{self._name}: with warm_start the classes must stay {self.classes_}, y has {classes}"
            )
        return self._know(classes)

    def _take_targets(self, y: NDArray, facts: Facts) -> NDArray:
        check_classification_targets(y)
        classes = facts["classes_"]
        labels = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
        foreign = classes[labels] != y
        if foreign.any():
            raise ValueError(
                f"{self._name}: expected y to hold the classes {classes}, got {np.unique(y[foreign])} too"
            )
        return labels

    def _weigh(self, targets: NDArray, weights: NDArray | None, facts: Facts) -> NDArray | None:
        if self.class_weight is None:
            return weights
        classes = facts["classes_"]
        if isinstance(self.class_weight, dict):
            labels = classes.tolist()
            unknown = [label for label in self.class_weight if label not in labels]
            if unknown:
                raise ValueError(
                    f"{self._name}: class_weight names {unknown[0]!r}, but the classes are {classes}"
                )
            own = np.array([self.class_weight.get(label, 1.0) for label in labels], np.float64)
        elif self.class_weight == "balanced":
            totals = np.bincount(targets, weights, minlength=len(classes))
            # Of a class without weight there is no row that counts.
            own = totals.sum() / (np.count_nonzero(totals) * np.where(totals > 0, totals, np.inf))
        else:
            raise ValueError(
                f"{self._name}: expected class_weight to be a dict or 'balanced', got {self.class_weight!r}"
            )
        if not (np.isfinite(own).all() and (own >= 0).all()):
            raise ValueError(
                f"{self._name}: expected finite class weights of 0 or more, got {self.class_weight!r}"
            )
        return own[targets] if weights is None else own[targets] * weights
