"""Names that other libraries have and `tensorgrad.nn` has not: asking for one says what to write."""

from typing import TYPE_CHECKING

from tensorgrad import core, ops
from tensorgrad.core.elsewhere import advise_name
from tensorgrad.nn import layers, optimizers, schedules

__all__ = ["__getattr__"]

if not TYPE_CHECKING:  # a type checker would take it for a promise that every name is there

    def __getattr__(name: str) -> object:
        elsewhere = [each for each in (*dir(core), *dir(ops)) if each[0] != "_"]
        known = [*elsewhere, *layers.__all__, *optimizers.__all__, *schedules.__all__]
        message = f"module 'tensorgrad.nn' has no attribute {name!r}{advise_name(name, known)}"
        raise AttributeError(message, name=name, obj=None)
