"""What several commands print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import tensorgrad as tg


def labels_of(network: tg.Network, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The class that the network finds most likely, for each image."""
    return network.predict(images).argmax(axis=1)


def confusion_table(
    target: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any], class_names: Sequence[str]
) -> str:
    """The confusion matrix as text, and the names of classes that have some."""
    from sklearn.metrics import confusion_matrix

    lines = [str(confusion_matrix(target, predicted, labels=range(len(class_names))))]
    lines += [f"  {number}: {name}" for number, name in enumerate(class_names) if str(number) != name]
    return "\n".join(lines)
