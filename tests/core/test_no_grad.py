"""no_grad: a switch for this thread or task alone, put back whatever happens."""

import asyncio
import contextvars
import importlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import leaf

import tensorgrad as tg


def records():
    return (leaf(1.0) * 2).requires_grad


def test_nothing_is_recorded_inside():
    x = leaf([1.0, 2.0])
    with tg.no_grad():
        y = x * x
        assert (y.requires_grad, y.op, y.inputs) == (False, None, ())
        assert x.requires_grad
        assert leaf(1.0).requires_grad  # leaves still want their gradients
    assert (x * x).requires_grad


def test_as_decorator_and_by_hand():
    @tg.no_grad()
    def f():
        return records()

    assert [f(), records(), f(), records()] == [False, True, False, True]


def test_nested_in_every_way():
    @tg.no_grad()
    def recursive(n):
        return [records(), *(recursive(n - 1) if n else []), records()]

    assert recursive(3) == [False] * 8
    switch = tg.no_grad()
    with switch:
        with switch:
            assert not records()
        assert not records()
        with tg.no_grad():
            assert not records()
        assert not records()
    assert records()


def test_put_back_when_an_exception_passes():
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        raise ZeroDivisionError
    assert records()

    @tg.no_grad()
    def f():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        f()
    assert records()


@pytest.mark.parametrize("transform", [tg.grad, tg.value_and_grad, lambda f: lambda x: tg.vjp(f, x)])
def test_transforms_put_the_switch_back_when_an_exception_passes(transform):
    def f(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transform(f)(1.0)
    assert records()
    with tg.no_grad():
        with pytest.raises(ZeroDivisionError):
            transform(f)(1.0)
        assert not records()


def test_backward_puts_the_switch_back():
    x = leaf(2.0)
    y = x * x
    with tg.no_grad():
        y.backward()
        assert not records()
    assert x.grad == 4.0
    assert records()


def test_a_derivative_asked_for_under_no_grad_is_computed():
    with tg.no_grad():
        assert tg.grad(lambda x: x**3)(2.0) == 12.0
        assert tg.grad(tg.grad(lambda x: x**3))(2.0) == 12.0
        value, pull_back = tg.vjp(lambda x: x * x, np.array([3.0]))
        assert (value, pull_back(np.ones(1))[0]) == (9.0, 6.0)
        tg.gradcheck(lambda x: x * x, np.array([1.0]), order=2)


def test_no_grad_inside_a_differentiated_function_makes_constants():
    def f(x):
        with tg.no_grad():
            constant = x * x
        return x * constant

    assert tg.grad(f)(3.0) == 9.0


def in_threads(*workers):
    """Run the workers at once, and raise here what one of them raised."""
    with ThreadPoolExecutor(len(workers)) as pool:
        for future in [pool.submit(worker) for worker in workers]:
            future.result()


def test_threads_do_not_disturb_one_another():
    """With MyGrad and dezero, one thread under no_grad makes another's gradient None, or crashes it."""
    rounds, n = 300, 4
    together = threading.Barrier(2 * n, timeout=30)
    shared = leaf([1.0, 2.0], name="shared")  # read by all, written by none

    def recording():
        together.wait()
        for _ in range(rounds):
            x = leaf([1.0, 2.0])
            y = (x * x * shared.detach()).sum()
            y.backward()
            np.testing.assert_array_equal(x.grad, [2.0, 8.0])

    @tg.no_grad()
    def decorated():
        assert not (shared * 2).requires_grad

    def not_recording():
        together.wait()
        for _ in range(rounds):
            with tg.no_grad():
                assert not (shared * 2).requires_grad
                assert tg.grad(lambda x: x * x)(3.0) == 6.0
                assert not (shared * 2).requires_grad
            decorated()
            assert (shared * 2).requires_grad

    in_threads(*[recording] * n, *[not_recording] * n)
    assert shared.grad is None
    assert records()


def test_a_thread_starts_out_recording_unless_it_is_handed_the_context():
    with tg.no_grad():
        in_threads(lambda: records() or pytest.fail("a new thread does not record"))
        context = contextvars.copy_context()
        in_threads(lambda: context.run(lambda: records() and pytest.fail("the context was not handed on")))


def test_one_switch_may_be_used_by_two_threads():
    switch = tg.no_grad()
    turn = threading.Barrier(2, timeout=5)

    def first():
        with switch:
            turn.wait()  # both are inside
            turn.wait()
            assert not records()
        assert records()
        turn.wait()

    def second():
        turn.wait()
        with switch:
            turn.wait()
            turn.wait()  # the first one has left
            assert not records()
        assert records()

    in_threads(first, second)


def test_asyncio_tasks_do_not_disturb_one_another():
    async def quiet():
        for _ in range(50):
            with tg.no_grad():
                await asyncio.sleep(0)
                assert not records()
            assert records()

    async def loud():
        for _ in range(50):
            assert records()
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(quiet(), loud(), quiet(), loud())

    asyncio.run(main())


def test_gradients_of_many_threads_through_one_parameter_are_right():
    w = leaf([2.0])

    def worker():
        for _ in range(100):
            assert tg.grad(lambda x: (x * w.data).sum())(np.ones(1)) == 2.0

    in_threads(*[worker] * 4)


class Interrupted:
    """A context variable after whose n-th setting Ctrl-C comes, as it may after any call."""

    def __init__(self, variable, n):
        self.variable, self.left, self.get, self.reset = variable, n, variable.get, variable.reset

    def set(self, value):
        token = self.variable.set(value)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return token


def learning():
    with importlib.import_module("tensorgrad.nn.layer").learn():
        pass


@pytest.mark.parametrize(("module", "name", "f"), [
    ("core.transforms", "paused", lambda: tg.grad(np.sum)(np.ones(2))),
    ("core.recompute", "paused", lambda: tg.grad(lambda x: np.sum(tg.checkpoint(np.tanh)(x)))(np.ones(2))),
    ("core.recompute", "computing_again", lambda: tg.grad(lambda x: tg.checkpoint(np.sum)(x))(np.ones(2))),
    ("core.gradcheck", "watching", lambda: tg.gradcheck(np.tanh, np.ones(2))),
    ("graph.steps", "watching", lambda: tg.backward_steps(np.sum(tg.Tensor([1.0], requires_grad=True)))),
    ("graph.zeros", "paused", lambda: tg.Dense(2, 1, rng=0).summary((2,))),
    ("nn.layer", "paused", learning),
    ("nn.layer", "inferring", learning),
])  # fmt: skip
def test_nothing_stays_switched_whenever_ctrl_c_comes(module, name, f, monkeypatch):
    module = importlib.import_module(f"tensorgrad.{module}")
    variable = getattr(module, name)
    before, interrupted = variable.get(), 0
    for n in range(1, 100):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, Interrupted(variable, n))
            try:
                f()
            except KeyboardInterrupt:
                interrupted += 1
            else:
                break
        assert variable.get() == before
    assert interrupted
