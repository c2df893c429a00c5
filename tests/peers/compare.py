"""What tensorgrad and its peers do in the same situation, found by asking them.

    python tests/peers/compare.py               # all that are installed
    python tests/peers/compare.py autograd torch

Prints the tables of docs/comparison.md, in Markdown, and asks each peer in a process of its own. Nothing is
downloaded: a peer that is not installed is left out.
"""

import importlib.metadata
import json
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import numpy as np

DEEP = 5000


class NoGradientError(Exception):
    """The backward pass ended without an error, and without a gradient."""


class Peer:
    """One library: its own ``np``-like functions in ``lib``, and the gradient of a function of one array."""

    distribution = ""
    lib: SimpleNamespace

    def version(self):
        return importlib.metadata.version(self.distribution)

    def gradient(self, f, x):
        """The gradient of a scalar function, as the library's users take it."""
        leaf = self.leaf(x)
        f(leaf).backward()
        if leaf.grad is None:
            raise NoGradientError
        return self.array(leaf.grad)

    def array(self, x):
        return np.asarray(x)

    def constant(self, x):
        return x.copy()


class Tensorgrad(Peer):
    distribution = "tensorgrad-numpy"

    def __init__(self):
        import tensorgrad as tg

        self.tg = self.lib = tg
        self.mse, self.no_grad, self.norm = tg.mse, tg.no_grad, tg.linalg.norm

    def leaf(self, x):
        return self.tg.Tensor(x, requires_grad=True)

    def array(self, x):
        return x.numpy() if isinstance(x, self.tg.Tensor) else np.asarray(x)

    def second(self, f, x):
        return self.tg.grad(self.tg.grad(f))(x)

    def check_relu_at_0(self):
        return self.tg.gradcheck(self.tg.relu, np.array([0.0, 1.0])).ok


class Autograd(Peer):
    distribution = "autograd"

    def __init__(self):
        import autograd
        import autograd.numpy as anp

        self.autograd, self.lib, self.norm = autograd, anp, anp.linalg.norm

    def gradient(self, f, x):
        return self.autograd.grad(f)(x)

    def second(self, f, x):
        return self.autograd.grad(self.autograd.grad(f))(x)

    def check_relu_at_0(self):
        from autograd.test_util import check_grads

        check_grads(lambda x: self.lib.maximum(x, 0.0), modes=["rev"], order=1)(np.array([0.0, 1.0]))
        return True


class MyGrad(Peer):
    distribution = "mygrad"

    def __init__(self):
        import mygrad as mg

        self.mg = self.lib = mg
        self.norm, self.no_grad = mg.linalg.norm, lambda: mg.no_autodiff

    def leaf(self, x):
        return self.mg.tensor(x)


class Micrograd(Peer):
    """Numbers only, no arrays."""

    distribution = "micrograd"

    def __init__(self):
        from micrograd.engine import Value

        self.leaf = Value
        self.lib = SimpleNamespace(sum=lambda x: x)


class Dezero(Peer):
    distribution = "dezero"

    def __init__(self):
        import dezero
        import dezero.functions as functions

        self.dezero, self.lib = dezero, functions
        self.mse, self.no_grad = functions.mean_squared_error, dezero.no_grad

    def leaf(self, x):
        return self.dezero.Variable(np.asarray(x))

    def array(self, x):
        return x.data

    def second(self, f, x):
        leaf = self.leaf(x)
        f(leaf).backward(create_graph=True)
        first = leaf.grad
        leaf.cleargrad()
        first.backward()
        return leaf.grad.data

    def check_relu_at_0(self):
        from dezero.utils import gradient_check

        return gradient_check(self.lib.relu, np.array([0.0, 1.0]))


class Tinygrad(Peer):
    """On a CPU it wants the program clang."""

    distribution = "tinygrad"

    def __init__(self):
        from tinygrad import Tensor

        self.tensor = Tensor
        self.lib = SimpleNamespace(
            sum=lambda x: x.sum(),
            max=lambda x: x.max(),
            sqrt=lambda x: x.sqrt(),
            where=lambda c, x, y: c.where(x, y),
        )

    def leaf(self, x):
        return self.tensor(np.asarray(x))

    def gradient(self, f, x):
        leaf = self.leaf(x)
        return f(leaf).gradient(leaf)[0].numpy()

    def array(self, x):
        return x.numpy()

    def constant(self, x):
        return self.tensor(x)

    def second(self, f, x):
        leaf = self.leaf(x)
        (first,) = f(leaf).gradient(leaf)
        return first.gradient(leaf)[0].numpy()


class Jax(Peer):
    distribution = "jax"

    def __init__(self):
        import jax
        import jax.numpy as jnp

        self.jax, self.lib, self.norm = jax, jnp, jnp.linalg.norm

    def gradient(self, f, x):
        return np.asarray(self.jax.grad(f)(x))

    def constant(self, x):
        return self.lib.array(x)

    def second(self, f, x):
        return self.jax.grad(self.jax.grad(f))(x)

    def check_relu_at_0(self):
        from jax.test_util import check_grads

        check_grads(
            lambda x: self.lib.maximum(x, 0.0), (np.array([0.0, 1.0], np.float32),), order=1, modes=["rev"]
        )
        return True


class Torch(Peer):
    distribution = "torch"

    def __init__(self):
        import torch

        self.torch = self.lib = torch
        self.mse, self.no_grad, self.norm = torch.nn.functional.mse_loss, torch.no_grad, torch.linalg.norm

    def leaf(self, x):
        return self.torch.tensor(x, requires_grad=True)

    def array(self, x):
        return x.detach().numpy()

    def constant(self, x):
        return self.torch.tensor(x)

    def second(self, f, x):
        leaf = self.leaf(x)
        (first,) = self.torch.autograd.grad(f(leaf), leaf, create_graph=True)
        return self.torch.autograd.grad(first, leaf)[0].numpy()

    def check_relu_at_0(self):
        x = self.torch.tensor([0.0, 1.0], dtype=self.torch.float64, requires_grad=True)
        return self.torch.autograd.gradcheck(self.torch.relu, x)


ON_NUMPY = {
    "tensorgrad": Tensorgrad,
    "autograd": Autograd,
    "MyGrad": MyGrad,
    "micrograd": Micrograd,
    "dezero": Dezero,
}
WITH_ARRAYS_OF_THEIR_OWN = {"tensorgrad": Tensorgrad, "tinygrad": Tinygrad, "JAX": Jax, "PyTorch": Torch}
PEERS = ON_NUMPY | WITH_ARRAYS_OF_THEIR_OWN


# Situations: each takes a peer, and gives what it did as a short text


def listed(x):
    return ", ".join(f"{v:g}" for v in np.ravel(x))


def judged(found, truth):
    return "right" if np.allclose(found, truth, equal_nan=False) else f"wrong: {listed(found)}"


def numpy_functions(peer):
    """`np.sin` and `np.stack` of its tensors"""
    x = np.array([0.5, 1.0])
    return judged(peer.gradient(lambda t: peer.lib.sum(np.stack([t, np.sin(t)])), x), 1 + np.cos(x))


def float32(peer):
    """a float32 tensor times 2.0 is"""
    seen = []

    def f(t):
        seen.append(str((t * 2.0).dtype).removeprefix("torch.").removeprefix("dtypes."))
        return peer.lib.sum(t * 2.0)

    peer.gradient(f, np.ones(2, np.float32))
    return "float32" if seen[0] == "float" else seen[0]


def integers(peer):
    """the gradient of x² at the integers 1, 2"""
    return judged(peer.gradient(lambda t: peer.lib.sum(t * t), np.array([1, 2])), [2, 4])


def mutation(peer):
    """gradient of x·a, where the array a is changed afterwards"""
    factors = peer.constant(np.array([1.0, 2.0], np.float32))

    def f(t):
        product = t * factors
        factors[:] = 100.0
        return peer.lib.sum(product)

    return judged(peer.gradient(f, np.ones(2, np.float32)), [1, 2])


def twice(peer):
    """`backward` twice: the gradient of one call, times"""
    x = peer.leaf(2.0 if isinstance(peer, Micrograd) else np.array([2.0]))
    loss = peer.lib.sum(x * x * x)
    loss.backward()
    once = np.sum(peer.array(x.grad))
    loss.backward()
    return f"{np.sum(peer.array(x.grad)) / once:g}"


def depth(peer):
    """a chain of 5,000 additions"""
    start = 1.0 if isinstance(peer, Micrograd) else np.ones(2, np.float32)

    def f(t):
        for _ in range(DEEP):
            t = t + 1.0
        return peer.lib.sum(t)

    return judged(peer.gradient(f, start), np.ones_like(start))


def ties(peer):
    """the gradient of max at 1, 1"""
    return listed(peer.gradient(lambda t: peer.lib.max(t), np.ones(2, np.float32)))


def second_derivative(peer):
    """the second derivative of x³ at 2"""
    return f"{float(peer.second(lambda x: x * x * x, 2.0)):g}"


def shapes(peer):
    """`mse` of a column of 3 and the same numbers in a row"""
    prediction, target = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 3.0])
    loss = peer.mse(peer.leaf(prediction), peer.leaf(target))
    return f"{float(peer.array(loss)):.3g}"


def norm_at_0(peer):
    """the gradient of the norm at 0"""
    return listed(peer.gradient(lambda t: peer.norm(t), np.zeros(2, np.float32)))


def masked(peer):
    """the gradient of where(x > 0, √x, 0) at 0, 4"""
    lib = peer.lib
    found = peer.gradient(
        lambda t: lib.sum(lib.where(t > 0, lib.sqrt(t), peer.constant(np.zeros(2, np.float32)))),
        np.array([0.0, 4.0], np.float32),
    )
    return listed(found)


def threads(peer):
    """gradients off in another thread"""
    entered, done, no_grad = threading.Event(), threading.Event(), peer.no_grad

    def elsewhere():
        with no_grad():
            entered.set()
            done.wait()

    other = threading.Thread(target=elsewhere)
    other.start()
    entered.wait()
    try:
        return judged(peer.gradient(lambda t: peer.lib.sum(t * t), np.array([1.0, 2.0])), [2, 4])
    finally:
        done.set()
        other.join()


def check_at_kink(peer):
    """its gradient check of relu at 0"""
    return "passes" if peer.check_relu_at_0() else "fails"


SITUATIONS = [
    numpy_functions,
    float32,
    integers,
    mutation,
    twice,
    depth,
    ties,
    second_derivative,
    shapes,
    norm_at_0,
    masked,
    threads,
    check_at_kink,
]


def answer(situation, peer):
    if isinstance(peer, Micrograd) and situation not in (twice, depth, second_derivative):
        return "–"
    try:
        return situation(peer)
    except NoGradientError:
        return "no gradient"
    except AttributeError as error:
        # What the adapter lacks, the library lacks.
        return "–" if getattr(error, "obj", None) in (peer, peer.lib) else "raises"
    except Exception:
        return "fails" if situation is check_at_kink else "raises"


def ask(name):
    """The answers of one peer, its version first; None if it cannot be imported."""
    np.seterr(all="ignore")
    warnings.simplefilter("ignore")
    try:
        peer = PEERS[name]()
    except Exception as error:  # old packages meet new ones: not only ImportError
        print(f"{name} cannot be imported: {error}", file=sys.stderr)
        return None
    return [peer.version().partition("+")[0], *(answer(situation, peer) for situation in SITUATIONS)]


def print_table(columns):
    print("| |", " | ".join(f"{name} {version}" for name, (version, *_) in columns.items()), "|")
    print("|", " | ".join(["---"] * (len(columns) + 1)), "|")
    for i, situation in enumerate(SITUATIONS, 1):
        print(f"| {situation.__doc__} |", " | ".join(answers[i] for answers in columns.values()), "|")


def main(names):
    answers = {}
    for name in PEERS:
        if not names or name.lower() in {n.lower() for n in names}:
            done = subprocess.run(
                [sys.executable, __file__, "--ask", name], stdout=subprocess.PIPE, check=True
            )
            answers[name] = json.loads(done.stdout.splitlines()[-1])  # a peer may print, too
    for group in (ON_NUMPY, WITH_ARRAYS_OF_THEIR_OWN):
        columns = {name: answers[name] for name in group if answers.get(name)}
        if columns:
            print_table(columns)
            print()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        print(json.dumps(ask(sys.argv[2])))
    else:
        main(sys.argv[1:])
