"""A user's program, which `mypy --strict` passes without a cast, and which runs."""

import numpy as np
import numpy.typing as npt

import tensorgrad as tg

Floats = npt.NDArray[np.float64]
Weights = dict[str, Floats]


@tg.op(elementwise=True)
def softsign(x: Floats) -> Floats:
    return x / (1.0 + np.abs(x))


softsign.defvjp(x=lambda g, out, x: g / (1.0 + np.abs(x)) ** 2)


class Residual(tg.Layer):
    def __init__(self, units: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.inner = tg.Dense(units, units, rng=rng, dtype="float64")

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return x + softsign(self.inner(x))


def energy(weights: dict[str, tg.Tensor], x: Floats) -> tg.Tensor:
    hidden = tg.tanh(tg.matmul(x, weights["w"]) + weights["b"])
    return (hidden**2).mean() + 0.1 * tg.sum(weights["w"] ** 2)


def descend(weights: Weights, x: Floats, steps: int) -> tuple[Weights, list[float]]:
    losses: list[float] = []
    for _ in range(steps):
        value, gradient = tg.value_and_grad(energy)(weights, x)
        losses.append(float(value))
        weights = {name: weights[name] - 0.1 * gradient[name] for name in weights}
    return weights, losses


def step(network: tg.Network, optimizer: tg.Optimizer, x: Floats, y: Floats) -> float:
    loss = tg.mse(network(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    rng = np.random.default_rng(0)
    x: Floats = rng.standard_normal((16, 3))
    y: Floats = np.sin(x[:, :1])
    _, losses = descend({"w": rng.standard_normal((3, 2)), "b": np.zeros(2)}, x, 20)
    assert losses[-1] < losses[0]
    slope: Floats = tg.grad(lambda t: tg.sum(tg.exp(t)))(x)
    assert np.allclose(slope, np.exp(x))
    curvature: Floats = tg.hessian(lambda t: tg.sum(t * t))(x[0])
    assert np.allclose(curvature, 2.0 * np.eye(3))
    first, last = tg.Dense(3, 4, rng=rng, dtype="float64"), tg.Dense(4, 1, rng=rng, dtype="float64")
    network = tg.Network([first, Residual(4, rng), tg.ReLU(), last])
    network.use(tg.mse)
    optimizer = tg.Adam(network.parameters(), learning_rate=0.01)
    trained = [step(network, optimizer, x, y) for _ in range(50)]
    assert trained[-1] < trained[0]
    network.fit(x, y, optimizer=optimizer, epochs=2, verbose=False)
    print(network.predict(x).shape, tg.relu(network(x)).shape, f"{trained[-1]:.3g}")


if __name__ == "__main__":
    main()
