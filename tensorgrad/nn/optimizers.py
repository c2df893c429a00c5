"""Optimizers: they step parameters against their gradients.

`Optimizer` is what all share: groups of parameters with options, clipping, whole steps, the state. Each kind
says in ``_update`` how it moves a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray, flag, fraction, is_integer, nonnegative, positive
from tensorgrad.core.elsewhere import TABLES, Explained, advise_keyword, tell_names
from tensorgrad.graph.native.variant import Update
from tensorgrad.nn.optimizer_step import (
    Options,
    ParameterGroup,
    Scratch,
    clip_gradients,
    copy_slots,
    cut,
    decay_weights,
    make_slot,
    report_at_the_end,
    split_into_groups,
    step_in_c,
)

__all__ = ["Adam", "AdamW", "MiniBatchSGD", "Optimizer"]


class Optimizer(Explained):
    """Base of all optimizers.

    A kind of optimizer declares its options in ``_checks`` and the arrays that it keeps for each parameter in
    ``_slot_names``, and moves parameters in ``_update``.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dicts
        Leaves that require grad; each once. A dict is a group, ``{"parameters": [...], ...}``, whose other
        entries are options that hold for the group instead of the constructor's.
    options : dict
        Options of the groups, ``learning_rate`` among them.
    clip_value : float, optional
        Elements of the gradients are clipped to [-clip_value, clip_value].
    clip_norm : float, optional
        Gradients are scaled so that the norm of all of them together is at most this; after ``clip_value``.

    Raises
    ------
    ValueError
        If there are no parameters, one comes twice, or a number is out of range.
    TypeError
        If a parameter is no leaf that requires grad, or an option is unknown or no number.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        options: Options,
        clip_value: float | None,
        clip_norm: float | None,
    ) -> None:
        name = type(self).__name__
        if isinstance(parameters, (Tensor, Mapping)) or not isinstance(parameters, Iterable):
            raise TypeError(
                f"{name}: expected a list of parameters, such as network.parameters(), got one "
                f"{type(parameters).__name__}{'; put it into a list' * isinstance(parameters, Tensor)}"
            )
        self.groups = tuple(
            self._group(part, {**options, **its}) for part, its in split_into_groups(name, list(parameters))
        )
        self.parameters = [p for group in self.groups for p in group.parameters]
        if not self.parameters:
            raise ValueError(f"{name}: no parameters to optimize")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError(f"{name}: a parameter was given twice, and would be stepped twice")
        self.clip_value, self.clip_norm = clip_value, clip_norm
        self.steps = 0
        self._slots: list[dict[str, NDArray]] = [{} for _ in self.parameters]

    def _group(self, parameters: list[Any], options: Options) -> ParameterGroup:
        for p in parameters:
            if not isinstance(p, Tensor) or p.op is not None or not p.requires_grad:
                raise TypeError(f"{type(self).__name__}: expected leaf tensors that require grad, got {p!r}")
        return ParameterGroup(parameters, options, self._check)

    # What a kind of optimizer defines

    #: Option -> function (optimizer's name, option's name, value) that gives the checked value.
    _checks: ClassVar[dict[str, Callable[[str, str, Any], Any]]] = {}
    #: Array kept for each parameter from step to step, zeros at first -> option that asks for it, or None.
    _slot_names: ClassVar[dict[str, str | None]] = {}

    @classmethod
    def _check_together(cls, options: Options, parameters: Sequence[Tensor]) -> None:
        """Raise if options, each right by itself, do not go together or with the parameters."""

    def _update(
        self, options: Options, x: NDArray, g: NDArray, slots: list[NDArray], scratch: Scratch, first: bool
    ) -> None:
        """Change ``x`` and ``slots`` in place, elementwise, given the gradient ``g``, which stays.

        ``first`` says that the slots are new.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define _update")

    # Options

    @classmethod
    def _check(cls, options: Options, parameters: Sequence[Tensor]) -> Options:
        unknown, missing = options.keys() - cls._checks.keys(), cls._checks.keys() - options.keys()
        if unknown or missing:
            wrong = f"no option {min(unknown)!r}" if unknown else f"the option {min(missing)!r} is missing"
            hint = f"; {advise_keyword(min(unknown), cls._checks)}" if unknown else ""
            raise TypeError(f"{cls.__name__}: {wrong}; a group has {', '.join(cls._checks)}{hint}")
        checked = {name: check(cls.__name__, name, options[name]) for name, check in cls._checks.items()}
        cls._check_together(checked, parameters)
        return checked

    @property
    def learning_rate(self) -> float:
        """The rate of all groups; may be assigned between steps.

        Raises
        ------
        ValueError
            If the groups have different rates. Use ``optimizer.groups[i].learning_rate`` then.
        """
        rates: list[float] = [group.learning_rate for group in self.groups]
        if len(set(rates)) > 1:
            raise ValueError(
                f"{type(self).__name__}: the groups have the rates {', '.join(map(str, rates))}; "
                "use optimizer.groups[i].learning_rate"
            )
        return rates[0]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        _ = self.learning_rate  # refuses groups of different rates
        for group in self.groups:
            group.learning_rate = value

    @property
    def clip_value(self) -> float | None:
        """The largest magnitude of an element of a gradient, or None."""
        return self._clip_value

    @clip_value.setter
    def clip_value(self, value: float | None) -> None:
        self._clip_value = self._check_clip("clip_value", value)

    @property
    def clip_norm(self) -> float | None:
        """The largest norm of all gradients together, or None."""
        return self._clip_norm

    @clip_norm.setter
    def clip_norm(self, value: float | None) -> None:
        self._clip_norm = self._check_clip("clip_norm", value)

    def _check_clip(self, name: str, value: float | None) -> float | None:
        return None if value is None else positive(type(self).__name__, name, value)

    # Steps

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters:
            p.zero_grad()

    def step(self) -> None:
        """Move every parameter once.

        Overflows are reported as NumPy is set to (``np.errstate``), but after the whole step.

        Of gradients as a compiled function gave them in its last call its code makes the step, in the same
        threads, if there is no ``clip_value``: it rounds otherwise, and takes subnormal numbers for 0.

        Raises
        ------
        RuntimeError
            If a parameter has no gradient.
        FloatingPointError
            If ``clip_norm`` is set and a gradient is not finite. As after the other error, all parameters and
            the state are as they were.
        """
        if self.has_compiled_step and step_in_c(self):
            return
        gradients = self._take_gradients()
        each = self._options_and_slots()
        # Whatever can fail comes first: memory for new arrays, and for arrays that someone else still reads.
        new = self._make_new_slots(each)
        values = [p.own() for p in self.parameters]
        self._slots = [slots | added for slots, added in zip(self._slots, new, strict=True)]
        self.steps += 1
        with report_at_the_end(f"step {self.steps} of {type(self).__name__}, which is finished"):
            for i, (options, names) in enumerate(each):
                slots = [self._slots[i][name] for name in names]
                for part in cut(values[i], gradients[i], slots):
                    self._update(options, *part, bool(new[i]))

    def _take_gradients(self) -> list[NDArray]:
        gradients = [p.grad for p in self.parameters]
        self._require_gradients([g is not None for g in gradients])
        gradients = [np.asarray(g.data if isinstance(g, Tensor) else g) for g in gradients]
        clips = self._clip_value, self._clip_norm
        return clip_gradients(type(self).__name__, gradients, self._labels(), *clips)

    def _labels(self) -> list[str]:
        return [p.name or f"number {i}" for i, p in enumerate(self.parameters)]

    def _require_gradients(self, there: Sequence[bool]) -> None:
        if not all(there):
            missing = [label for label, found in zip(self._labels(), there, strict=True) if not found]
            raise RuntimeError(
                f"{type(self).__name__}: no gradient for {', '.join(missing)}; "
                "was backward called, and does the loss depend on every parameter?"
            )

    def _make_new_slots(self, each: Sequence[tuple[Options, list[str]]]) -> list[dict[str, NDArray]]:
        """Of each parameter the arrays that the next step is the first to need."""
        return [
            {name: make_slot(p) for name in names if name not in slots}
            for p, slots, (_, names) in zip(self.parameters, self._slots, each, strict=True)
        ]

    def _options_and_slots(self) -> list[tuple[Options, list[str]]]:
        """Of each parameter the options, and the names of the arrays that are kept for it."""
        each = []
        for group in self.groups:
            options = group.options
            names = [name for name, option in self._slot_names.items() if option is None or options[option]]
            each += [(options, names)] * len(group.parameters)
        return each

    # Compiled steps

    #: What `Update` calls this kind. Another class, derived from it or not, has steps of its own.
    _compiled_kind: ClassVar[int]

    @property
    def has_compiled_step(self) -> bool:
        """Whether compiled code can make the steps, as for tensorgrad's own classes; not for derived ones."""
        return "_compiled_kind" in vars(type(self))

    def _compiled_options(self, options: Options, first: bool) -> list[float]:
        """The options of a parameter as `Update` has them."""
        raise NotImplementedError

    def begin_update(self, leaves: Sequence[Tensor]) -> Update:
        """What compiled code needs for the next step, given the leaves that have a gradient.

        Raises
        ------
        TypeError
            If there is no such code for this kind of optimizer.
        RuntimeError
            If a parameter is not among the leaves.
        """
        if not self.has_compiled_step:
            raise TypeError(
                f"compile: the steps of {type(self).__name__} cannot be compiled, only those of tensorgrad's "
                "own optimizers; compile the loss alone, and call backward and step"
            )
        reached = set(map(id, leaves))
        self._require_gradients([id(p) in reached for p in self.parameters])
        each = self._options_and_slots()
        new = self._make_new_slots(each)
        self._next_slots = [slots | added for slots, added in zip(self._slots, new, strict=True)]
        options = [self._compiled_options(its, bool(x)) for (its, _), x in zip(each, new, strict=True)]
        return Update(
            kind=self._compiled_kind,
            parameters=self.parameters,
            values=[p.own() for p in self.parameters],
            slots=[[its[name] for name in own] for its, (_, own) in zip(self._next_slots, each, strict=True)],
            options=np.array(options, np.float64),
            clip_value=self._clip_value,
            clip_norm=self._clip_norm,
        )

    def end_update(self, stepped: bool) -> None:
        """Count the step that `begin_update` has prepared, if it was made."""
        if stepped:
            self._slots = self._next_slots
            self.steps += 1
        del self._next_slots

    # State

    def state(self) -> dict[str, Any]:
        """All that the next steps depend on but the parameters: dicts, lists, numbers and copies of arrays.

        >>> w = tg.Parameter([1.0])
        >>> tg.MiniBatchSGD([w], 0.1).state()["groups"][0]["learning_rate"]
        0.1
        """
        return {
            "optimizer": type(self).__name__,
            "steps": self.steps,
            "clip_value": self.clip_value,
            "clip_norm": self.clip_norm,
            "groups": [
                {
                    "parameters": len(group.parameters),
                    **{k: list(v) if isinstance(v, tuple) else v for k, v in group.options.items()},
                }
                for group in self.groups
            ],
            "slots": [{name: array.copy() for name, array in slots.items()} for slots in self._slots],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` gave, options included. The groups must be of the same sizes.

        Raises
        ------
        ValueError
            If the state is of another kind of optimizer or of other parameters. Nothing is changed then.
        """
        name = f"{type(self).__name__}.load_state"
        if not isinstance(state, Mapping):
            raise ValueError(f"{name}: expected a dict, got a {type(state).__name__}")
        try:
            if state["optimizer"] != type(self).__name__:
                raise ValueError(f"the state is one of {state['optimizer']}")
            steps = state["steps"]
            if not is_integer(steps) or steps < 0:
                raise ValueError(f"expected steps to be an integer of at least 0, got {steps!r}")
            clips = [self._check_clip(key, state[key]) for key in ("clip_value", "clip_norm")]
            options = self._check_groups(state["groups"])
            slots = copy_slots(state["slots"], self.parameters, self._slot_names, needed=steps > 0)
        except KeyError as error:
            raise ValueError(f"{name}: the state has no entry {error}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{name}: {error}") from error
        self.steps, self._slots = int(steps), slots
        self._clip_value, self._clip_norm = clips
        for group, its in zip(self.groups, options, strict=True):
            group.set_options(its)

    def _check_groups(self, saved: list[Mapping[str, Any]]) -> list[Options]:
        sizes = [len(group.parameters) for group in self.groups]
        found = [group["parameters"] for group in saved]
        if sizes != found:
            raise ValueError(f"expected groups of {sizes} parameters, got groups of {found}")
        return [
            self._check(
                {key: value for key, value in theirs.items() if key != "parameters"}, group.parameters
            )
            for group, theirs in zip(self.groups, saved, strict=True)
        ]


tell_names(Optimizer, TABLES["optimizer"])


class MiniBatchSGD(Optimizer):
    """Gradient descent on mini-batches, with momentum, weight decay and gradient clipping.

    With gradient g, decay d, momentum m, dampening c and rate r, each step is::

        g <- g + d p        v <- m v + (1 - c) g        p <- p - r v        (Nesterov: p <- p - r (g + m v))

    where the first v is g itself. This is PyTorch's form of Sutskever et al. 2013. The coupled decay adds
    ``d/2 |p|^2`` to the loss: what the notebook's ``lambda_reg`` was meant to do. The decoupled one leaves g
    as it is and first shrinks p <- (1 - r d) p (SGDW of Loshchilov and Hutter 2019).

    Parameters
    ----------
    parameters : iterable of Tensor, or of dicts
        Leaves that require grad; each once. A dict is a group with options of its own, such as
        ``{"parameters": [...], "learning_rate": 0.1}``: any of the following but the two for clipping.
    learning_rate : float
        Must be at least 0. May be assigned between steps.
    momentum : float
        In [0, 1).
    dampening : float
        In [0, 1). With ``dampening=momentum``, v is an average of the gradients. Needs a momentum.
    nesterov : bool
        Needs a momentum.
    weight_decay : float
        Must be at least 0.
    decoupled_weight_decay : bool
    clip_value : float, optional
        Elements of the gradients are clipped to [-clip_value, clip_value].
    clip_norm : float, optional
        Gradients are scaled by min(1, clip_norm / (n + 1e-6)), where n is the norm of all gradients together;
        after ``clip_value``, before the decay, as in PyTorch.

    Raises
    ------
    ValueError
        If there are no parameters, one comes twice, or a number is out of range.
    TypeError
        If a parameter is no leaf that requires grad, or an option is unknown or no number.

    Notes
    -----
    ONNX's ``Momentum`` of ``ai.onnx.preview.training`` has R = learning_rate, alpha = momentum,
    beta = 1 - dampening, norm_coefficient = weight_decay, T = the number of steps already made, and
    mode = "nesterov" or "standard".

    >>> w = tg.Parameter([1.0, 2.0], name="w")
    >>> optimizer = tg.MiniBatchSGD([w], learning_rate=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([0., 0.])
    """

    _checks: ClassVar = {
        "learning_rate": nonnegative,
        "momentum": fraction,
        "dampening": fraction,
        "nesterov": flag,
        "weight_decay": nonnegative,
        "decoupled_weight_decay": flag,
    }
    _slot_names: ClassVar = {"velocity": "momentum"}
    _compiled_kind: ClassVar = 1

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        learning_rate: float,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        # Of the arguments those that have a check; so nothing may be assigned before this line.
        options = {name: value for name, value in locals().items() if name in self._checks}
        super().__init__(parameters, options, clip_value, clip_norm)

    @classmethod
    def _check_together(cls, options: Options, parameters: Sequence[Tensor]) -> None:
        for name in ("nesterov", "dampening"):
            if options[name] and not options["momentum"]:
                raise ValueError(f"{cls.__name__}: {name} needs a momentum above 0")

    def _compiled_options(self, options: Options, first: bool) -> list[float]:
        return [*options.values(), first]

    def _update(
        self, options: Options, x: NDArray, g: NDArray, slots: list[NDArray], scratch: Scratch, first: bool
    ) -> None:
        rate, momentum = options["learning_rate"], options["momentum"]
        out, decayed = scratch
        g = decay_weights(options, x, g, decayed, options["decoupled_weight_decay"])
        if not momentum:
            x -= np.multiply(g, rate, out=out)
            return
        (v,) = slots
        v *= momentum
        v += g if first or not options["dampening"] else np.multiply(g, 1 - options["dampening"], out=out)
        if options["nesterov"]:
            step: NDArray = np.multiply(v, momentum, out=out)
            step += g
            step *= rate
        else:
            step = np.multiply(v, rate, out=out)
        x -= step


def _pair_of_fractions(owner: str, name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{owner}: expected {name} to be a pair of numbers, got {value!r}")
    return fraction(owner, f"{name}[0]", value[0]), fraction(owner, f"{name}[1]", value[1])


class Adam(Optimizer):
    """Adam: steps along the mean of gradients, divided by the root of the mean of their squares.

    With gradient g, coupled decay d, rates b1 and b2, and t the number of the step, from 1::

        g <- g + d p        m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
        p <- p - r  (m / (1 - b1^t))  /  (sqrt(v / (1 - b2^t)) + eps)

    which is PyTorch's form of Kingma and Ba 2015. With ``amsgrad`` the largest v so far stands under the root
    (Reddi et al. 2018). For decoupled decay see `AdamW`.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dicts
        As in `MiniBatchSGD`.
    learning_rate : float
        Must be at least 0. May be assigned between steps.
    betas : pair of float
        b1 and b2, each in [0, 1).
    eps : float
        Above 0, in the dtype of the parameters too.
    weight_decay : float
        Must be at least 0.
    amsgrad : bool
    clip_value, clip_norm : float, optional
        As in `MiniBatchSGD`.

    Raises
    ------
    ValueError, TypeError
        As in `MiniBatchSGD`.

    Notes
    -----
    ONNX's ``Adam`` of ``ai.onnx.preview.training`` adds its epsilon to sqrt(v), before the correction. It
    makes the same step with R = learning_rate, alpha and beta = betas, norm_coefficient = weight_decay,
    T = t and epsilon = eps sqrt(1 - b2^t). Its T = 0 makes no correction. Its norm_coefficient_post is a
    decay that comes after the step, not before it as in `AdamW`.

    >>> w = tg.Parameter([1.0, -2.0], name="w")
    >>> optimizer = tg.Adam([w], learning_rate=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([ 0.5, -1.5])
    """

    _checks: ClassVar = {
        "learning_rate": nonnegative,
        "betas": _pair_of_fractions,
        "eps": positive,
        "weight_decay": nonnegative,
        "amsgrad": flag,
    }
    _slot_names: ClassVar = {"mean": None, "square": None, "largest_square": "amsgrad"}
    _decoupled: ClassVar = False
    _compiled_kind: ClassVar = 2

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        learning_rate: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        # Of the arguments those that have a check; so nothing may be assigned before this line.
        options = {name: value for name, value in locals().items() if name in self._checks}
        super().__init__(parameters, options, clip_value, clip_norm)

    @classmethod
    def _check_together(cls, options: Options, parameters: Sequence[Tensor]) -> None:
        for dtype in {make_slot(p).dtype for p in parameters}:
            if not dtype.type(options["eps"]) > 0:
                raise ValueError(f"{cls.__name__}: eps {options['eps']} is 0 in {dtype}; choose a larger one")

    def _compiled_options(self, options: Options, first: bool) -> list[float]:
        rate, decay = options["learning_rate"], options["weight_decay"]
        return [rate, *options["betas"], options["eps"], decay, self._decoupled, self.steps]

    def _update(
        self, options: Options, x: NDArray, g: NDArray, slots: list[NDArray], scratch: Scratch, first: bool
    ) -> None:
        out, decayed = scratch
        mean, square, *largest = slots
        b1, b2 = options["betas"]
        g = decay_weights(options, x, g, decayed, self._decoupled)
        mean *= b1
        mean += np.multiply(g, 1 - b1, out=out)
        square *= b2
        squared: NDArray = np.multiply(g, g, out=out)
        squared *= 1 - b2
        square += squared
        under = np.maximum(largest[0], square, out=largest[0]) if largest else square
        # Numerator and denominator times the root of 1 - b2^t, a number, which spares a pass over the array.
        root = (1 - b2**self.steps) ** 0.5
        step: NDArray = np.sqrt(under, out=out)
        step += options["eps"] * root
        step = np.divide(mean, step, out=out)
        step *= options["learning_rate"] * root / (1 - b1**self.steps)
        x -= step


class AdamW(Adam):
    """`Adam` with decoupled weight decay: each step first shrinks p <- (1 - r d) p, and g stays as it is.

    The decay then does not depend on the size of the gradients (Loshchilov and Hutter 2019; PyTorch's form).

    Parameters
    ----------
    parameters, learning_rate, betas, eps, amsgrad, clip_value, clip_norm
        As in `Adam`.
    weight_decay : float
        d above. Must be at least 0.

    >>> w = tg.Parameter([1.0, -2.0], name="w")
    >>> optimizer = tg.AdamW([w], learning_rate=0.5, weight_decay=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([ 0.45, -1.4 ])
    """

    _decoupled: ClassVar = True
    _compiled_kind: ClassVar = 2

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        learning_rate: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        # As they were given: only the usual decay is another.
        super().__init__(
            parameters, learning_rate, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
            clip_value=clip_value, clip_norm=clip_norm,
        )  # fmt: skip
