"""TensorgradRegressor."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if

from tensorgrad.core.checks import NDArray
from tensorgrad.estimators.base import Facts, NetworkEstimator, supports_partial_fit
from tensorgrad.ops import mse

__all__ = ["TensorgradRegressor"]


class TensorgradRegressor(RegressorMixin, NetworkEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network that predicts numbers, as an estimator of scikit-learn.

    Parameters
    ----------
    module, input_shape, ..., verbose
        As in `TensorgradClassifier`, without ``class_weight``. A module has one output for each column of y.
        The default loss is `tensorgrad.mse`. Targets are used as they are: for large or small ones put the
        estimator into scikit-learn's `TransformedTargetRegressor`, or choose the learning rate.

    Attributes
    ----------
    module_, history_, n_iter_, loss_, optimizer_, callbacks_, n_features_in_, feature_names_in_
        As in `TensorgradClassifier`.
    n_outputs_ : int
        Columns of y; 1 if it was (N,).

    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.compose import TransformedTargetRegressor
    >>> from sklearn.preprocessing import StandardScaler
    >>> from tensorgrad.estimators import TensorgradRegressor
    >>> x, y = load_diabetes(return_X_y=True)
    >>> network = TensorgradRegressor(hidden_layer_sizes=(16,), learning_rate=0.01, tol=None, random_state=0)
    >>> model = TransformedTargetRegressor(network, transformer=StandardScaler())
    >>> model.fit(x, y).score(x, y) > 0.5
    True
    """

    _default_loss = mse

    @available_if(supports_partial_fit)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one pass over these rows: with the weights, optimizer and random numbers of the last call.

        Parameters and errors are those of `fit`. With ``early_stopping`` or a ``schedule``, which need all
        rows, there is no such method.
        """
        return self._partial_fit(X, y, sample_weight, None)

    def predict(self, X: Any) -> NDArray:
        """The predictions, of the shape that y had: (N,) or (N, outputs)."""
        out = self._compute_outputs(X)
        return out[:, 0] if self._y_ndim == 1 else out

    def _learn_targets(self, y: NDArray, *, known: bool) -> Facts:
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if known and outputs != self.n_outputs_:
            raise ValueError(
                f"{self._name}: expected y with {self.n_outputs_} columns as before, got {outputs}"
            )
        return {"n_outputs_": outputs, "_y_ndim": y.ndim}

    def _take_targets(self, y: NDArray, facts: Facts) -> NDArray:
        columns = y.reshape(len(y), -1)
        if columns.shape[1] != facts["n_outputs_"]:
            raise ValueError(
                f"{self._name}: expected y with {facts['n_outputs_']} columns, got {columns.shape[1]}"
            )
        return columns

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
