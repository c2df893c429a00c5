"""The competitors: for each framework, what makes its training step and inference of a network.

All start from the same values and do the same arithmetic: the sum of squared errors, plain gradient descent.
A builder takes the network, images, targets and a learning rate; it raises NotImplementedError if it does not
offer the network. Frameworks are imported in the builders, so that a process holds one of them alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from networks import RATE, Network


@dataclass(frozen=True)
class Made:
    """A training step, which returns its loss; inference, which returns the output; the values now."""

    train: Callable[[], Any]
    infer: Callable[[], Any]
    parameters: Callable[[], list[np.ndarray]]  # in the form of Network.parameters
    time_steps: Callable[[int], list[float]] | None = None  # ms of training steps, where ``train`` does more


def _model_and_optimizer(network: Network, dtype, rate: float) -> tuple[Any, Any]:
    import tensorgrad as tg

    make = {
        "relu": tg.ReLU,
        "sigmoid": tg.Sigmoid,
        "flatten": lambda *_: tg.Flatten(),
        "pool": lambda: tg.MaxPool2D(2),
        "dense": partial(tg.Dense, dtype=dtype),
        "conv": lambda c, f, k, p: tg.Conv2D(c, f, k, padding=p, dtype=dtype),
    }
    model = tg.Network([make[kind](*options) for kind, *options in network.layers()])
    for parameter, value in zip(model.parameters(), network.parameters(dtype), strict=True):
        parameter.data = value
    return model, tg.MiniBatchSGD(model.parameters(), rate)


def with_tensorgrad(network: Network, x, y, rate: float = RATE) -> Made:
    import tensorgrad as tg

    model, optimizer = _model_and_optimizer(network, x.dtype, rate)

    def train() -> Any:
        loss = tg.mse(model(x), y, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    @tg.no_grad()
    def infer() -> Any:
        return model(x)

    return Made(train, infer, lambda: [p.numpy() for p in model.parameters()])


def with_compiled(
    network: Network, x, y, rate: float = RATE, *, threads: int | None = None, own_loop: bool = False
) -> Made:
    """The whole step as one compiled call or, in a loop of one's own, the loss alone."""
    import tensorgrad as tg

    model, optimizer = _model_and_optimizer(network, x.dtype, rate)
    predict = tg.compile(model, threads=threads)

    def loss_of(x: Any, y: Any) -> Any:
        return tg.mse(model(x), y, reduction="sum")

    call = tg.compile(loss_of, optimizer=None if own_loop else optimizer, threads=threads)

    def train() -> Any:
        loss = call(x, y)
        if own_loop:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss

    @tg.no_grad()
    def infer() -> Any:
        return predict(x)

    return Made(train, infer, lambda: [p.numpy() for p in model.parameters()])


def with_fit(network: Network, x, y, rate: float = RATE) -> Made:
    """`Network.fit`, compiled; a step is what goes by from the end of a batch to the end of the next."""
    import tensorgrad as tg

    class Clock(tg.Callback):
        def on_batch_end(self, training: Any) -> None:
            self.ends.append(time.perf_counter())
            self.loss = np.asarray(training.loss * len(x))

    model, optimizer = _model_and_optimizer(network, x.dtype, rate)
    model.use(partial(tg.mse, reduction="sum"))
    clock = Clock()

    def train(steps: int = 1) -> Any:
        clock.ends = []
        rows = [np.concatenate([part] * steps) for part in (x, y)]
        how: dict[str, Any] = {"optimizer": optimizer, "compile": True, "verbose": False, "seed": 0}
        model.fit(*rows, batch_size=len(x), callbacks=clock, **how)
        return clock.loss

    def time_steps(steps: int) -> list[float]:
        train(steps + 1)
        return [1e3 * seconds for seconds in np.diff(clock.ends).tolist()]

    now = lambda: [p.numpy() for p in model.parameters()]
    return Made(train, lambda: model.predict(x, compile=True), now, time_steps)


def _channels_first(network: Network, w: np.ndarray) -> np.ndarray:
    """The first dense layer's weights, for images flattened as (C, H, W)."""
    height, width, channels = next(options for kind, *options in network.layers() if kind == "flatten")
    return w.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(w.shape)


def _channels_last(network: Network, w: np.ndarray) -> np.ndarray:
    height, width, channels = next(options for kind, *options in network.layers() if kind == "flatten")
    return w.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(w.shape)


def _first_dense(values: list[np.ndarray]) -> int:
    return next(i for i, value in enumerate(values) if value.ndim == 2)


def with_torch(
    network: Network,
    x,
    y,
    rate: float = RATE,
    *,
    threads: int | None = None,
    channels_last: bool = False,
    compiled: bool = False,
) -> Made:
    import torch
    from torch import nn

    if threads is not None:
        torch.set_num_threads(threads)
    make = {
        "relu": nn.ReLU,
        "sigmoid": nn.Sigmoid,
        "flatten": lambda *_: nn.Flatten(),
        "pool": lambda: nn.MaxPool2d(2),
        "dense": nn.Linear,
        "conv": lambda c, f, k, p: nn.Conv2d(c, f, k, padding=p),
    }
    layout = torch.channels_last if channels_last else torch.contiguous_format
    values = network.parameters(x.dtype)
    turned = _first_dense(values)
    values[turned] = _channels_first(network, values[turned])
    model = nn.Sequential(*(make[kind](*options) for kind, *options in network.layers()))
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.data = torch.tensor(value.T if value.ndim == 2 else value)
    model = model.to(memory_format=layout)
    images = torch.tensor(x.transpose(0, 3, 1, 2)).contiguous(memory_format=layout)
    target, loss_of = torch.tensor(y), nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(model.parameters(), rate)

    def forward() -> torch.Tensor:
        return loss_of(model(images), target)

    def predict() -> torch.Tensor:
        return model(images)

    if compiled:
        torch._dynamo.config.recompile_limit = 64  # a compilation for each network and batch size
        forward, predict = (torch.compile(f, dynamic=False) for f in (forward, predict))

    def train() -> torch.Tensor:
        optimizer.zero_grad()
        loss = forward()
        loss.backward()
        optimizer.step()
        return loss

    def infer() -> torch.Tensor:
        with torch.no_grad():
            return predict()

    def now() -> list[np.ndarray]:
        found = [p.detach().numpy() for p in model.parameters()]
        found = [value.T if value.ndim == 2 else value for value in found]
        found[turned] = _channels_last(network, found[turned])
        return found

    return Made(train, infer, now)


def with_jax(network: Network, x, y, rate: float = RATE) -> Made:
    import jax
    import jax.numpy as jnp
    from jax import lax

    values = [w.transpose(2, 3, 1, 0) if w.ndim == 4 else w for w in network.parameters(x.dtype)]
    state = [jnp.asarray(value) for value in values]
    images, target, layers = jnp.asarray(x), jnp.asarray(y), list(network.layers())

    def forward(parameters, h):
        rest = iter(parameters)
        for kind, *options in layers:
            if kind == "conv":
                pads = [(options[3], options[3])] * 2
                form = ("NHWC", "HWIO", "NHWC")
                h = lax.conv_general_dilated(h, next(rest), (1, 1), pads, dimension_numbers=form) + next(rest)
            elif kind == "pool":
                h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            elif kind == "dense":
                h = h @ next(rest) + next(rest)
            elif kind == "flatten":
                h = h.reshape(len(h), -1)
            else:
                h = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}[kind](h)
        return h

    @jax.jit
    def update(parameters, h, target):
        loss_of = lambda p: jnp.sum((forward(p, h) - target) ** 2)
        loss, gradients = jax.value_and_grad(loss_of)(parameters)
        return loss, [p - rate * g for p, g in zip(parameters, gradients, strict=True)]

    def train() -> jax.Array:
        loss, state[:] = jax.block_until_ready(update(state, images, target))
        return loss

    predict = jax.jit(forward)

    def now() -> list[np.ndarray]:
        return [np.asarray(w).transpose(3, 2, 0, 1) if w.ndim == 4 else np.asarray(w) for w in state]

    return Made(train, lambda: jax.block_until_ready(predict(state, images)), now)


def with_autograd(network: Network, x, y, rate: float = RATE) -> Made:
    """Convolution and pooling as in autograd's own example of a convolutional network."""
    import autograd
    import autograd.numpy as anp
    from autograd.scipy.signal import convolve

    # convolve turns the filters around, so they are kept turned around, as (C, F, K, K)
    values = [
        np.ascontiguousarray(w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)) if w.ndim == 4 else w
        for w in network.parameters(x.dtype)
    ]
    turned = _first_dense(values)
    values[turned] = _channels_first(network, values[turned])
    images, layers = np.ascontiguousarray(x.transpose(0, 3, 1, 2)), list(network.layers())

    def forward(parameters):
        h, rest = images, iter(parameters)
        for kind, *options in layers:
            if kind == "conv":
                pad = options[3]
                if pad:
                    h = anp.pad(h, ((0, 0), (0, 0), (pad, pad), (pad, pad)), "constant")
                h = convolve(h, next(rest), axes=([2, 3], [2, 3]), dot_axes=([1], [0]), mode="valid")
                h = h + next(rest)[:, None, None]
            elif kind == "pool":
                n, c, height, width = h.shape
                h = h[:, :, : height // 2 * 2, : width // 2 * 2]
                h = anp.max(anp.reshape(h, (n, c, height // 2, 2, width // 2, 2)), axis=(3, 5))
            elif kind == "dense":
                h = anp.dot(h, next(rest)) + next(rest)
            elif kind == "flatten":
                h = anp.reshape(h, (len(h), -1))
            else:
                h = anp.maximum(h, 0) if kind == "relu" else 0.5 * anp.tanh(0.5 * h) + 0.5
        return h

    with_gradient = autograd.value_and_grad(lambda p: anp.sum((forward(p) - y) ** 2))

    def train() -> Any:
        loss, gradients = with_gradient(values)
        for p, g in zip(values, gradients, strict=True):
            p -= x.dtype.type(rate) * g
        return loss

    def now() -> list[np.ndarray]:
        found = [w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1] if w.ndim == 4 else w for w in values]
        found[turned] = _channels_last(network, found[turned])
        return found

    return Made(train, lambda: forward(values), now)


def with_mygrad(network: Network, x, y, rate: float = RATE) -> Made:
    import mygrad
    from mygrad.nnet.activations import relu, sigmoid
    from mygrad.nnet.layers import conv_nd, max_pool

    values = network.parameters(x.dtype)
    turned = _first_dense(values)
    values[turned] = _channels_first(network, values[turned])
    parameters = [mygrad.tensor(value) for value in values]
    images, layers = np.ascontiguousarray(x.transpose(0, 3, 1, 2)), list(network.layers())

    def forward():
        h, rest = images, iter(parameters)
        for kind, *options in layers:
            if kind == "conv":
                h = conv_nd(h, next(rest), stride=1, padding=options[3])
                h = h + mygrad.reshape(next(rest), (-1, 1, 1))
            elif kind == "pool":
                height, width = (n // 2 * 2 for n in h.shape[2:])
                h = max_pool(h[:, :, :height, :width], (2, 2), 2)  # it refuses a row or column left over
            elif kind == "dense":
                h = mygrad.matmul(h, next(rest)) + next(rest)
            elif kind == "flatten":
                h = h.reshape(len(h), -1)
            else:
                h = {"relu": relu, "sigmoid": sigmoid}[kind](h)
        return h

    def train() -> Any:
        loss = mygrad.sum((forward() - y) ** 2)
        loss.backward()
        for p in parameters:
            p.data -= x.dtype.type(rate) * p.grad
        return loss

    def infer() -> Any:
        with mygrad.no_autodiff:
            return forward()

    def now() -> list[np.ndarray]:
        found = [p.data for p in parameters]
        found[turned] = _channels_last(network, found[turned])
        return found

    return Made(train, infer, now)
