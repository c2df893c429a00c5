"""playground: a page in which a network trains."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tensorgrad.core import Array
from tensorgrad.graph.drawing.player import Player
from tensorgrad.graph.native.javascript import read_prelude
from tensorgrad.graph.native.record import UncompilableError
from tensorgrad.nn.live.demos import digits, spirals
from tensorgrad.nn.live.scene import Scene, require_size
from tensorgrad.nn.optimizers import Optimizer
from tensorgrad.nn.sequential import Loss, Sequential

__all__ = ["Playground", "playground"]


class Playground(Player):
    """A page in which a network trains. A notebook shows it by itself.

    Attributes
    ----------
    source : str
        The page: HTML that needs nothing else.
    """

    height = "52rem"

    def __repr__(self) -> str:
        return "<Playground: .source is its page in HTML, .render(path) writes a file>"


def playground(
    network: Sequential | None = None,
    x: Array | None = None,
    y: Array | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer | Callable[..., Optimizer] | None = None,
    learning_rate: float | None = None,
    batch_size: int = 32,
    validation: tuple[Array, Array] | None = None,
    validation_split: float | None = None,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    title: str = "Playground",
) -> Playground:
    """Let a network train before your eyes, in one page of HTML.

    A notebook shows it; with a ``path`` it is written to a file, to be opened in a browser. It needs no
    network and no server: steps of training are written as JavaScript, from the same graph and by the same
    rules as `compile` writes them in C. One plays, pauses and steps; sliders move the learning rate, the
    batch size and what else the optimizer has. A click on a unit shows its value, its cotangent and its vjp,
    and weights to change by hand.

    Without arguments the page has two spirals with a small dense network, and handwritten digits with a
    convolutional one. ``#digits`` at the end of the address opens these, ``#steps=300`` a page after so many
    steps.

    Parameters
    ----------
    network : Network
        With its weights the page begins. It is left as it is.
    x, y : array_like
        Examples, as for `Network.fit`.
    path : path, optional
    loss : str or function, optional
        As in `Network.use`; by default that of the network.
    optimizer, learning_rate
        As in `Network.fit`; with neither, `Adam` with a rate of 0.01. Only its options are taken.
    batch_size : int
        At the beginning. Sizes from 1 to 128 may be chosen in the page.
    validation : (x, y), optional
        Held-out examples.
    validation_split : float, optional
        The share of the examples that is held out instead; by default 0.2 where there are 20 or more. 0 holds
        none out.
    features, classes : list of str, optional
        What inputs and classes are called.
    seed : int
        Of the split, and of the order of the rows and what `Dropout` draws in the page.
    title : str

    Returns
    -------
    Playground

    Raises
    ------
    TypeError, ValueError
        As `Network.fit` for data, loss and optimizer that do not fit. If there are more than 200,000
        parameters, or the page would have more than 3 MB. If the optimizer is of a kind of your own, or has
        several groups; if the network does not compute each row by itself at inference.
    UncompilableError
        If an op has no rule, or a layer draws random numbers or keeps statistics in a way of its own.

    >>> network = tg.Network([tg.Dense(2, 4, rng=0), tg.Tanh(), tg.Dense(4, 1, rng=1)])
    >>> x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    >>> tg.playground(network, x, x[:, :1] * x[:, 1:], loss="mse").source.startswith("<!DOCTYPE html>")
    True
    """
    if network is None:
        if x is not None or y is not None:
            raise TypeError("playground: expected a network with x and y, or nothing at all")
        scenes = [Scene(key=make.__name__, **make()) for make in (spirals, digits)]
    else:
        try:
            scene = Scene(
                network, x, y, loss=loss, optimizer=optimizer, learning_rate=learning_rate,
                batch_size=batch_size, validation=validation, validation_split=validation_split,
                features=features, classes=classes, seed=seed, title=title,
            )  # fmt: skip
        except UncompilableError as error:
            raise UncompilableError(f"playground: {str(error).replace('compile: ', '')}") from error
        scenes = [scene]
    shown = Playground(_write_page(title, scenes))
    if path is not None:
        shown.render(path)
    return shown


def _write_page(title: str, scenes: Sequence[Scene]) -> str:
    programs = (f"const programs = {{\n{_inside(scene.programs)}\n}};" for scene in scenes)
    parts = {
        "title": html.escape(str(title)),
        # In a script element, only < could end the text too early.
        "scenes": json.dumps([each.contents for each in scenes], ensure_ascii=False).replace("<", "\\u003c"),
        "programs": "\n".join(
            f'<script id="programs{i}" type="text/plain">{text}</script>' for i, text in enumerate(programs)
        ),
        "prelude": _inside(read_prelude()), "trainer": _read("trainer.js"), "paint": _read("paint.js"),
        "page": _read("page.js"),
    }  # fmt: skip
    page = re.sub(f"@({'|'.join(parts)})@", lambda found: parts[found[1]], _read("page.html"))
    require_size(len(page.encode(errors="replace")))
    return page


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _inside(script: str) -> str:
    """A script that cannot end its element, whatever is called what in its comments."""
    return re.sub("<(?=/|!--)", "< ", script)
