"""Optimizer: what all optimizers share. Groups of parameters, clipping, whole steps, and the state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.nn.clipping import clipped
from tensorgrad.nn.in_place import Floats, Scratch, in_parts, owned, reporting_at_the_end
from tensorgrad.nn.options import Options, ParameterGroup, positive, split_into_groups


class Optimizer:
    """Base of all optimizers.

    A kind of optimizer declares its options in ``_kinds``, names the arrays that it keeps for each parameter
    in ``_slots_of``, and moves parameters in ``_update``.

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
        if isinstance(parameters, (Tensor, Mapping)):
            raise TypeError(
                f"{name}: expected a list of parameters, got one {type(parameters).__name__}; "
                "put it into a list"
            )
        self.groups = tuple(
            self._group(part, {**options, **own}) for part, own in split_into_groups(name, list(parameters))
        )
        self.parameters = [p for group in self.groups for p in group.parameters]
        if not self.parameters:
            raise ValueError(f"{name}: no parameters to optimize")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError(f"{name}: a parameter was given twice, and would be stepped twice")
        self.clip_value, self.clip_norm = clip_value, clip_norm
        self.steps = 0
        self._slots: list[dict[str, Floats]] = [{} for _ in self.parameters]

    def _group(self, parameters: list[Any], options: Options) -> ParameterGroup:
        name = type(self).__name__
        for p in parameters:
            if not isinstance(p, Tensor) or p.op is not None or not p.requires_grad:
                raise TypeError(f"{name}: expected leaf tensors that require grad, got {p!r}")
        group = ParameterGroup(tuple(parameters), options, self._checked)
        for p in parameters:
            self._check_dtype(group.options, p.dtype)
        return group

    # What a kind of optimizer defines

    #: Option -> function (optimizer's name, option's name, value) that gives the checked value.
    _kinds: ClassVar[dict[str, Callable[[str, str, Any], Any]]] = {}
    #: All names that `_slots_of` may give, and those it always gives.
    _slot_names: ClassVar[tuple[str, ...]] = ()
    _needed_slots: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def _check_together(cls, options: Options) -> None:
        """Raise if options, each right by itself, do not go together."""

    def _check_dtype(self, options: Options, dtype: np.dtype[Any]) -> None:
        """Raise if an option makes no sense for parameters of ``dtype``."""

    def _slots_of(self, options: Options) -> tuple[str, ...]:
        """Names of the arrays that are kept for each parameter from step to step; zeros at first."""
        return ()

    def _update(
        self, options: Options, x: Floats, g: Floats, slots: list[Floats], scratch: Scratch, first: bool
    ) -> None:
        """Change ``x`` and ``slots`` in place, elementwise, given the gradient ``g``, which stays.

        ``first`` says that the slots are new.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define _update")

    def _decoupled(self, options: Options) -> bool:
        """Whether the group's ``weight_decay`` shrinks parameters directly, not through their gradients."""
        return False

    def _decay(self, options: Options, x: Floats, g: Floats, out: Floats | None) -> Floats:
        """Shrink ``x`` by a decoupled decay, or give the gradient with a coupled one added, in ``out``."""
        decay = options["weight_decay"]
        if not decay:
            return g
        if self._decoupled(options):
            x *= 1 - options["learning_rate"] * decay
            return g
        decayed: Floats = np.multiply(x, decay, out=out)
        decayed += g
        return decayed

    # Options

    @classmethod
    def _checked(cls, options: Options) -> Options:
        unknown, missing = options.keys() - cls._kinds.keys(), cls._kinds.keys() - options.keys()
        if unknown or missing:
            wrong = f"no option {min(unknown)!r}" if unknown else f"the option {min(missing)!r} is missing"
            raise TypeError(f"{cls.__name__}: {wrong}; a group has {', '.join(cls._kinds)}")
        checked = {name: check(cls.__name__, name, options[name]) for name, check in cls._kinds.items()}
        cls._check_together(checked)
        return checked

    @property
    def learning_rate(self) -> float:
        """The rate of all groups; may be assigned between steps.

        Raises
        ------
        ValueError
            If the groups have different rates. Use ``optimizer.groups[i].learning_rate`` then.
        """
        self._one_rate()
        return self.groups[0].learning_rate  # type: ignore[no-any-return]  # checked to be a float

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._one_rate()
        for group in self.groups:
            group.learning_rate = value

    def _one_rate(self) -> None:
        rates = [group.learning_rate for group in self.groups]
        if len(set(rates)) > 1:
            raise ValueError(
                f"{type(self).__name__}: the groups have the rates {', '.join(map(str, rates))}; "
                "use optimizer.groups[i].learning_rate"
            )

    @property
    def clip_value(self) -> float | None:
        """The largest magnitude of an element of a gradient, or None."""
        return self._clip_value

    @clip_value.setter
    def clip_value(self, value: float | None) -> None:
        self._clip_value = self._checked_clip("clip_value", value)

    @property
    def clip_norm(self) -> float | None:
        """The largest norm of all gradients together, or None."""
        return self._clip_norm

    @clip_norm.setter
    def clip_norm(self, value: float | None) -> None:
        self._clip_norm = self._checked_clip("clip_norm", value)

    def _checked_clip(self, name: str, value: float | None) -> float | None:
        return None if value is None else positive(type(self).__name__, name, value)

    # Steps

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters:
            p.zero_grad()

    def step(self) -> None:
        """Move every parameter once.

        Overflows are reported as NumPy is set to (``np.errstate``), but after the whole step.

        Raises
        ------
        RuntimeError
            If a parameter has no gradient.
        FloatingPointError
            If ``clip_norm`` is set and a gradient is not finite. As after the other error, all parameters and
            the state are as they were.
        """
        gradients = self._gradients()
        # Whatever can fail comes first: memory for new arrays, and for arrays that someone else still reads.
        slots, first = self._prepared_slots()
        values = [owned(p) for p in self.parameters]
        self._slots = slots
        self.steps += 1
        with reporting_at_the_end(f"step {self.steps} of {type(self).__name__}, which is finished"):
            i = 0
            for group in self.groups:
                options = group.options
                names = self._slots_of(options)
                for _ in group.parameters:
                    kept = [slots[i][name] for name in names]
                    for part in in_parts(values[i], gradients[i], kept):
                        self._update(options, *part, first[i])
                    i += 1

    def _gradients(self) -> list[Floats]:
        gradients = [p.grad for p in self.parameters]
        if any(g is None for g in gradients):
            missing = [p.name or f"number {i}" for i, p in enumerate(self.parameters) if p.grad is None]
            raise RuntimeError(
                f"{type(self).__name__}: no gradient for {', '.join(missing)}; "
                "was backward called, and does the loss depend on every parameter?"
            )
        gradients = [g.data if isinstance(g, Tensor) else g for g in gradients]
        if self._clip_value is None and self._clip_norm is None:
            return gradients
        labels = [p.name or f"number {i}" for i, p in enumerate(self.parameters)]
        return clipped(type(self).__name__, gradients, labels, self._clip_value, self._clip_norm)

    def _prepared_slots(self) -> tuple[list[dict[str, Floats]], list[bool]]:
        """The slots, zeros where there are none yet, and which parameters got new ones."""
        slots, first = list(self._slots), [False] * len(self._slots)
        i = 0
        for group in self.groups:
            names = self._slots_of(group.options)
            for p in group.parameters:
                if any(name not in slots[i] for name in names):
                    first[i] = True
                    slots[i] = {name: np.zeros_like(p.data) for name in names} | slots[i]
                i += 1
        return slots, first

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
            if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
                raise ValueError(f"expected steps to be an integer of at least 0, got {steps!r}")
            clips = [self._checked_clip(key, state[key]) for key in ("clip_value", "clip_norm")]
            groups = self._loaded_groups(state["groups"])
            slots = self._loaded_slots(state["slots"], self._needed_slots if steps else ())
        except KeyError as error:
            raise ValueError(f"{name}: the state has no entry {error}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{name}: {error}") from error
        self.steps, self._slots = steps, slots
        self._clip_value, self._clip_norm = clips
        for own, group in zip(self.groups, groups, strict=True):
            vars(own)["_options"] = group.options

    def _loaded_groups(self, saved: list[Mapping[str, Any]]) -> list[ParameterGroup]:
        sizes = [len(group.parameters) for group in self.groups]
        found = [group["parameters"] for group in saved]
        if sizes != found:
            raise ValueError(f"expected groups of {sizes} parameters, got groups of {found}")
        return [
            self._group(list(own.parameters), {k: v for k, v in group.items() if k != "parameters"})
            for own, group in zip(self.groups, saved, strict=True)
        ]

    def _loaded_slots(
        self, saved: list[Mapping[str, Any]], needed: tuple[str, ...]
    ) -> list[dict[str, Floats]]:
        if len(saved) != len(self.parameters):
            raise ValueError(f"expected the slots of {len(self.parameters)} parameters, got {len(saved)}")
        loaded: list[dict[str, Floats]] = []
        for i, (p, slots) in enumerate(zip(self.parameters, saved, strict=True)):
            loaded.append({})
            for key in needed:
                if key not in slots:
                    raise ValueError(f"{key} of {p.name or f'parameter {i}'} is missing")
            for key, array in slots.items():
                label = f"{key} of {p.name or f'parameter {i}'}"
                if key not in self._slot_names:
                    raise ValueError(f"{label} is not known")
                if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (p.shape, p.dtype):
                    came = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
                    raise ValueError(f"{label}: expected {p.dtype} {p.shape}, got {came}")
                loaded[-1][key] = np.empty_like(p.data)
                np.copyto(loaded[-1][key], array)
        return loaded
