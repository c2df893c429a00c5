"""Layer: a function with parameters."""

from __future__ import annotations

import re
import reprlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np

from tensorgrad.core import Array, Parameter, Tensor
from tensorgrad.core.checks import NDArray, flag, positive_integer
from tensorgrad.core.context import inferring, paused
from tensorgrad.core.elsewhere import TABLES, Explained, explained, tell_names
from tensorgrad.core.engine import as_numeric, clock
from tensorgrad.core.printed import Printed, Text
from tensorgrad.core.refusals import require_values
from tensorgrad.core.trees import flatten
from tensorgrad.nn.summary import outline, summarize

__all__ = ["Buffer", "Layer"]

P = ParamSpec("P")
T = TypeVar("T")


def infer(f: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """``f(*args)``, computed as at inference and without a graph, in this thread or task alone.

    It runs in a context of its own, which is then dropped: whenever Ctrl-C comes, nothing stays switched.
    """
    context = copy_context()
    context.run(inferring.set, True)
    context.run(paused.set, 1)
    return context.run(f, *args, **kwargs)


@contextmanager
def learn() -> Iterator[None]:
    """Context manager: layers compute in the modes that their owners gave them, and ops record.

    Also inside of `infer` and of `no_grad`.
    """
    mode, pauses = inferring.get(), paused.get()
    try:
        try:
            inferring.set(False)
            paused.set(0)
            yield
        finally:
            inferring.set(mode)
    finally:  # of its own: Ctrl-C may come between the two
        paused.set(pauses)


class Buffer(Tensor):
    """A Tensor that a layer keeps but does not train, such as a running mean: part of the layer's state.

    >>> tg.nn.Buffer(np.zeros(2, np.float32), name="running_mean")
    Buffer([0., 0.], dtype=float32, name='running_mean')
    """

    __slots__ = ()

    def __init__(self, data: Array, name: str | None = None) -> None:
        super().__init__(data, name=name)


class Layer(Explained, Printed):
    """Base of all layers. Write your own in a few lines: keep parameters and layers as attributes,
    and compose ops in `forward`.

    >>> class Residual(tg.Layer):
    ...     def __init__(self, *layers):
    ...         self.block = tg.Network(layers)
    ...     def forward(self, x):
    ...         return x + self.block(x)
    >>> layer = Residual(tg.Dense(3, 8, rng=0), tg.ReLU(), tg.Dense(8, 3, rng=1))
    >>> layer(np.ones((4, 3), np.float32)).shape
    (4, 3)
    >>> list(layer.named_parameters())
    ['block.Dense0.weights', 'block.Dense0.bias', 'block.Dense2.weights', 'block.Dense2.bias']

    Attributes
    ----------
    training : bool
        Whether the layer computes as in training (the default) or as at inference. `Dropout` and `BatchNorm`
        tell the two apart; see `train` and `eval`, which set it for good. Inside `Network.predict` and
        `Network.evaluate` it reads False, in their thread or task alone.

    Raises
    ------
    TypeError
        If an attribute that holds a Parameter, a Buffer or a layer is assigned an array or anything else that
        would not be part of the layer: it would no longer be trained or saved. If an attribute is a Tensor
        that requires grad and is no Parameter, for the same reason.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not isinstance(cls.training, property):
            raise TypeError(
                f"{cls.__name__}: training is a property of every layer, got {cls.training!r} in its place; "
                "assign it in __init__"
            )

    def __init__(self) -> None:
        """A layer without options."""

    @property
    def training(self) -> bool:
        """Whether the layer computes as in training."""
        return bool(vars(self).get("training", True)) and not inferring.get()

    @training.setter
    def training(self, mode: bool) -> None:
        vars(self)["training"] = flag(type(self).__name__, "training", mode)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "trainable":
            raise AttributeError(
                "a layer has no such switch; give the optimizer the parameters of the others"
            )
        held = vars(self).get(name)
        if isinstance(held, (Tensor, Layer, list, tuple, dict)) and held is not value:
            _refuse_to_lose(f"{type(self).__name__}.{name}", held, value)
        if type(value) is Tensor and value.requires_grad and value.op is None:
            raise TypeError(
                f"{type(self).__name__}.{name}: a Tensor that requires grad is no Parameter and would be "
                "neither trained nor saved; write tg.Parameter(values)"
            )
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in TABLES["layer"]]

    def forward(self, x: Array) -> Tensor:
        """Compute the output from the input. Every layer defines it."""
        hint = "; call, which it has, is to be called so" if "call" in vars(type(self)) else ""
        raise NotImplementedError(f"{type(self).__name__} does not define forward{hint}")

    def __call__(self, x: Array) -> Tensor:
        if type(x) is not Tensor:
            require_values(x, type(self).__name__)
        start = next(clock)
        out = self.forward(x)
        for part in out if isinstance(out, (tuple, list)) else (out,):  # some layers have several results
            if isinstance(part, Tensor) and part.op is not None and part.serial > start:
                part.note_call(start, weakref.ref(self), type(self).__name__, _note(x))
        return out

    def run_layers(self, x: Array) -> Iterator[tuple[Layer, Tensor]]:
        """What is called one after the other, each with its output: this layer alone."""
        yield self, self(x)

    @reprlib.recursive_repr()  # layers may hold one another in a circle
    def __repr__(self) -> str:
        parts = ", ".join(f"{path}={child!r}" for path, child in self.children())
        return f"{type(self).__name__}({parts})"

    def __str__(self) -> str:
        """A line for each layer inside, indented, with its parameters; what comes again is not counted again.

        >>> print(tg.Network([tg.Dense(2, 3, rng=0), tg.ReLU()]))
        Network                 9 parameters
          Dense0: Dense(2, 3)   9
          ReLU1: ReLU()
        """
        return outline(self) if any(self.children()) else repr(self)

    @explained
    def summary(self, input_shape: int | tuple[int, ...], batch_size: int = 32) -> str:
        """A table of what the layers make and cost, for inputs of ``input_shape`` (without N).

        Multiply-adds are those of one forward pass of one row, in matrix products, einsum and convolutions;
        biases and elementwise ops are not counted. "Kept" is what a training step on ``batch_size`` rows
        keeps in memory until its backward pass: the results of the ops that depend on a parameter and the
        arrays that they read, each once, in the layer that first holds it. The last line adds the parameters
        and their gradients; what an optimizer keeps and what ops need while they run comes on top.

        The layers inside of a layer stand under it, and are counted in it; a parameter counts in the layer
        that first has it. All is read from the graph that a copy records for zeros; the layer itself is left
        as it is.

        >>> print(tg.Network([tg.Dense(2, 3, rng=0), tg.ReLU()]).summary((2,), batch_size=100))
        layer            output shape   parameters   multiply-adds     kept
        0  Dense(2, 3)   (N, 3)                  9               6   3.2 kB
        1  ReLU()        (N, 3)                  0               0   1.2 kB
        total                                    9               6   4.4 kB
        a step on 100 rows: 4.4 kB kept for backward + 36 B parameters + 36 B gradients = 4.5 kB
        """
        positive_integer("summary", "batch_size", batch_size)
        return Text(summarize(self, input_shape, batch_size))

    # Modes

    def train(self, mode: bool = True) -> Self:
        """Set ``training`` of this layer and of every layer in it; return the layer.

        `Network.fit` trains in these modes: a part that was put into inference stays there, and is frozen as
        far as it tells the two apart. Its parameters are trained all the same, unless the optimizer is given
        others alone.

        >>> network = tg.Network([tg.Dense(2, 2, rng=0), tg.ReLU()])
        >>> network.eval().training, network.layers[1].training
        (False, False)
        """
        mode = flag("train", "mode", mode)
        for layer in self.named_layers().values():
            layer.training = mode
        return self

    def eval(self) -> Self:
        """Compute as at inference, not as in training: the same as ``train(False)``."""
        return self.train(False)

    # What is in the layer, by path

    def children(self) -> Iterator[tuple[str, Layer]]:
        """The layers among the attributes, in lists, tuples and dicts too, with their paths."""
        return ((path, x) for path, x in _members(self) if isinstance(x, Layer))

    def named_layers(self) -> dict[str, Layer]:
        """This layer, whose path is empty, and every layer in it once, by its path."""
        return self._name_once(_walk(self, "", set()), "layers")

    def named_parameters(self) -> dict[str, Parameter]:
        """Every parameter once, by its path such as ``Dense2.weights``; in the order of definition.

        Raises
        ------
        ValueError
            If two parameters have the same path.
        """
        return self._name_once(_find(self, Parameter), "parameters")

    def parameters(self) -> list[Parameter]:
        """Every parameter once."""
        return list(self.named_parameters().values())

    def buffers(self) -> list[Buffer]:
        """Every `Buffer` once: what `named_buffers` gives the values of, to be assigned to."""
        return list(self._buffers().values())

    def parameter(self, path: str) -> Parameter:
        """The parameter of that path.

        Raises
        ------
        KeyError
            If there is none; the message lists those there are.

        >>> network = tg.Network([tg.Dense(3, 2, rng=0), tg.ReLU()])
        >>> network.parameter("Dense0.bias")
        Parameter([0., 0.], dtype=float32, name='Dense0.bias', requires_grad=True)
        """
        named = self.named_parameters()
        if path not in named:
            raise KeyError(
                f"{type(self).__name__} has no parameter {path!r}; there are {', '.join(named) or 'none'}"
            )
        return named[path]

    def named_buffers(self) -> dict[str, NDArray]:
        """The values of every `Buffer` once, by its path such as ``BatchNorm1.running_mean``; read-only."""
        return {path: x.data for path, x in self._buffers().items()}

    def named_generators(self) -> dict[str, np.random.Generator]:
        """The random generators that layers draw from, each once, by its path such as ``Dropout1.generator``.

        Their states are not part of `state`: a run that is to go on as if uninterrupted stores them too.
        """
        return self._name_once(_find(self, np.random.Generator), "generators")

    # State

    def state(self) -> dict[str, NDArray]:
        """Copies of all parameters, then of all buffers, by path.

        >>> state = tg.Dense(2, 1, rng=0).state()
        >>> {path: values.shape for path, values in state.items()}
        {'weights': (2, 1), 'bias': (1,)}
        """
        return {path: x.numpy() for path, x in self._parameters_and_buffers().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Set all parameters and buffers to what `state` gave: the same paths, shapes and dtypes.

        Raises
        ------
        ValueError
            If anything does not fit, with a line for each misfit. Nothing is changed then.

        >>> trained, fresh = tg.Dense(2, 1, rng=0), tg.Dense(2, 1, rng=1)
        >>> fresh.load_state(trained.state())
        >>> bool(np.all(fresh.weights.data == trained.weights.data))
        True
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state: expected a dict of arrays by path, got a {type(state).__name__}")
        own = self._parameters_and_buffers()
        values: dict[str, NDArray] = {}
        misfits = [f"{path} is missing" for path in own if path not in state]
        for path, given in state.items():
            if path not in own:
                misfits.append(f"{path} is not a parameter or buffer of the layer")
                continue
            wanted = own[path]
            try:
                value = given.data if isinstance(given, Tensor) else as_numeric(given, None, path)
            except (TypeError, ValueError) as error:
                misfits.append(str(error))
                continue
            if value.shape != wanted.shape:
                misfits.append(f"{path}: expected shape {wanted.shape}, got {value.shape}")
            if value.dtype != wanted.dtype:
                misfits.append(f"{path}: expected {wanted.dtype}, got {value.dtype}")
            values[path] = value
        if misfits:
            raise ValueError(
                f"load_state: the state does not fit {type(self).__name__}, which is left as it was:\n  "
                + "\n  ".join(misfits)
            )
        for path, value in values.items():
            own[path].data = value

    def _buffers(self) -> dict[str, Buffer]:
        return self._name_once(_find(self, Buffer), "buffers")

    def _parameters_and_buffers(self) -> dict[str, Tensor]:
        tensors: list[tuple[str, Tensor]] = [*self.named_parameters().items(), *self._buffers().items()]
        return self._name_once(tensors, "parameters or buffers")

    def _name_once(self, found: Iterable[tuple[str, T]], kind: str) -> dict[str, T]:
        """What was found as a dict, without what came before under another path."""
        named: dict[str, T] = {}
        seen = set()
        for path, x in found:
            if id(x) in seen:
                continue
            if path in named:
                raise ValueError(f"{type(self).__name__}: two {kind} are called {path}")
            seen.add(id(x))
            named[path] = x
        return named


tell_names(Layer, TABLES["layer"])

#: What a layer keeps: parts of its state, and layers that have such.
_KEPT = (Parameter, Buffer, Layer)


def _refuse_to_lose(what: str, held: Any, value: Any) -> None:
    """TypeError if a Parameter, Buffer or layer in ``held`` has in ``value`` something else in its place."""
    kept = {path: x for path, x in flatten(held) if isinstance(x, _KEPT)}
    leaves = [*flatten(value)] or [("", value)] * isinstance(held, _KEPT)
    for place, new in leaves if kept else ():
        if new is None or isinstance(new, _KEPT):
            continue
        for path, old in kept.items():
            if path.startswith(place) or place.startswith(path):
                kind = "Layer" if isinstance(old, Layer) else type(old).__name__
                new_values = "" if kind == "Layer" else f"write {what}{path}.data = ... for new values, or "
                raise TypeError(
                    f"{what}{path} is a {kind}, and a {type(new).__name__} in its place would be no part of "
                    f"the layer, neither trained nor saved; {new_values}assign a {kind}"
                )


def _note(x: Any) -> Tensor | tuple[Any, ...]:
    """What a graph remembers of what a layer was given: tensors, and arrays without keeping them alive."""
    if isinstance(x, Tensor):
        return x
    arrays = [a for _, a in flatten(x) if isinstance(a, (np.ndarray, Tensor))]
    return tuple(a if isinstance(a, Tensor) else (weakref.ref(a), a.shape, a.dtype) for a in arrays)


def _members(layer: Layer) -> Iterator[tuple[str, Any]]:
    for name, value in vars(layer).items():
        for path, x in flatten(value):
            inside = path and re.sub(r"\[(.*?)\]", lambda found: "." + found[1].strip("'"), path)
            yield name + inside, x


def _walk(layer: Layer, path: str, seen: set[int]) -> Iterator[tuple[str, Layer]]:
    """The layer and the layers in it, each once, with their paths; they may hold one another in a circle."""
    seen.add(id(layer))
    yield path, layer
    for name, child in layer.children():
        if id(child) not in seen:
            yield from _walk(child, f"{path}.{name}" if path else name, seen)


def _find(layer: Layer, kind: type[T]) -> Iterator[tuple[str, T]]:
    """The attributes of that kind, of the layer and then of the layers in it, with their paths."""
    for path, owner in _walk(layer, "", set()):
        for name, x in _members(owner):
            if isinstance(x, kind):
                yield f"{path}.{name}" if path else name, x
