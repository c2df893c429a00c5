"""What each loss should compute, from its definition: loops over elements in plain Python."""

import math

import numpy as np


def elementwise_loss(of_element):
    """The loss whose elements are ``of_element(prediction, target, place, **options)``."""

    def oracle(prediction, target, weights=None, *, reduction="mean", **options):
        losses, counts = {}, {}
        for place in np.ndindex(prediction.shape):
            losses[place] = of_element(prediction[place].item(), target[place].item(), place, **options)
            counts[place] = 1.0 if weights is None else weights[place[0]].item()
        return reduced(losses, counts, counts, prediction.shape, reduction)

    return oracle


def reduced(losses, weights, counts, shape, reduction):
    """Weighted losses, added up if wanted, and divided by the sum of what they count."""
    if reduction == "none":
        out = np.empty(shape)
        for place in np.ndindex(shape):
            out[place] = weights[place] * losses[place]
        return out
    total = math.fsum(weights[place] * losses[place] for place in losses)
    return np.array(total / math.fsum(counts.values()) if reduction == "mean" else total)


def huber(p, t, place, delta=1.0):
    d = abs(p - t)
    return d * d / 2 if d <= delta else delta * (d - delta / 2)


def binary_cross_entropy(x, t, place, positive_weight=1.0):
    weight = positive_weight[place[-1]] if np.ndim(positive_weight) else positive_weight
    s = 1 / (1 + math.exp(-x))
    return -weight * t * math.log(s) - (1 - t) * math.log(1 - s)


def cross_entropy(
    prediction, target, weights=None, *, class_weights=None, label_smoothing=0.0, reduction="mean"
):
    classes = prediction.shape[-1]
    losses, of_rows, counts = {}, {}, {}
    for place in np.ndindex(prediction.shape[:-1]):
        logits = [x.item() for x in prediction[place]]
        given = target[place]
        shares = [float(c == given) for c in range(classes)] if target.ndim < prediction.ndim else list(given)
        of_classes = [1.0] * classes if class_weights is None else list(class_weights)
        total = math.fsum(map(math.exp, logits))
        losses[place] = 0.0
        for c in range(classes):
            wanted = (1 - label_smoothing) * shares[c] + label_smoothing / classes
            losses[place] -= of_classes[c] * wanted * math.log(math.exp(logits[c]) / total)
        of_rows[place] = 1.0 if weights is None else weights[place[0]].item()
        counts[place] = of_rows[place] * math.fsum(w * p for w, p in zip(of_classes, shares, strict=True))
    return reduced(losses, of_rows, counts, prediction.shape[:-1], reduction)


#: name of the op: its oracle
ORACLES = {
    "mse": elementwise_loss(lambda p, t, place: (p - t) ** 2),
    "mae": elementwise_loss(lambda p, t, place: abs(p - t)),
    "huber": elementwise_loss(huber),
    "l2": lambda *parameters, strength: np.array(
        strength / 2 * math.fsum(x.item() ** 2 for p in parameters for x in np.ravel(p))
    ),
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": elementwise_loss(binary_cross_entropy),
}
