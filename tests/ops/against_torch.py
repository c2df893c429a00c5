"""Values, gradients and Hessian-vector products held against PyTorch, to 1e-9."""

import numpy as np
import pytest
from helpers import cotangent_of

import tensorgrad as tg


def assert_agrees_with_torch(ours, theirs, *args):
    """The scalar is sum(f v + f f), so that no second derivative is zero for a linear f."""
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    v, directions = cotangent_of(ours(*args)), [np.cos(x) for x in args]
    everything = tuple(range(len(args)))

    def scalar(*args):
        out = ours(*args)
        return np.sum(out * v + out * out)

    gradient = tg.grad(scalar, everything)

    def along(*args):
        return sum(np.sum(g * d) for g, d in zip(gradient(*args), directions, strict=True))

    found = [ours(*args), *gradient(*args), *tg.grad(along, everything)(*args)]
    leaves = [torch.tensor(x, requires_grad=True) for x in args]
    out = theirs(*leaves)
    first = _gradients(torch, (out * torch.tensor(v) + out * out).sum(), leaves)
    total = sum((g * torch.tensor(d)).sum() for g, d in zip(first, directions, strict=True))
    truth = [out, *first, *_gradients(torch, total, leaves)]
    for mine, other in zip(found, truth, strict=True):
        other = other.detach().numpy()
        assert np.shape(mine) == other.shape
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9)


def _gradients(torch, scalar, leaves):
    if not scalar.requires_grad:
        return [torch.zeros_like(x) for x in leaves]
    found = torch.autograd.grad(scalar, leaves, create_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]
