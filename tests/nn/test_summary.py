"""Network.summary: multiply-adds by hand, and memory as measured."""

import gc
import re
import time
import tracemalloc

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.graph.recorded import ancestors
from tensorgrad.nn.summary import layer_costs, multiply_adds


def dense():
    return tg.dense_network((28, 28, 1), 10, rng=0)


def convolutional():
    return tg.convolutional_network((28, 28, 1), 10, rng=0)


def test_the_dense_network_by_hand():
    costs = layer_costs(dense(), (28, 28, 1), 3)
    assert [cost.multiply_adds for cost in costs] == [0, 784 * 256, 0, 256 * 256, 0, 256 * 10, 0]
    assert [cost.parameters for cost in costs] == [0, 785 * 256, 0, 257 * 256, 0, 257 * 10, 0]
    assert [cost.output_shape for cost in costs] == [(784,), (256,), (256,), (256,), (256,), (10,), (10,)]
    # Each op's result, and the images: float32, three rows.
    kept = [0, 784 + 256 + 256, 256, 256 + 256, 256, 10 + 10, 10]
    assert [cost.kept for cost in costs] == [4 * 3 * n for n in kept]


def test_the_convolutional_network_by_hand():
    costs = layer_costs(convolutional(), (28, 28, 1), 2)
    by_hand = [
        26 * 26 * 16 * (3 * 3 * 1),
        0,
        11 * 11 * 32 * (3 * 3 * 16),
        *(0, 0),
        800 * 128,
        0,
        128 * 64,
        0,
        64 * 10,
        0,
    ]
    assert [cost.multiply_adds for cost in costs] == by_hand
    assert costs[0].kept == 4 * 2 * (28 * 28 + 26 * 26 * 16)


@pytest.mark.parametrize("build", [dense, convolutional])
@pytest.mark.parametrize("rows", [16, 64])
def test_what_is_kept_is_what_tracemalloc_finds(build, rows):
    network = build()
    x = np.random.default_rng(0).random((rows, 28, 28, 1)).astype(np.float32)
    network(x)  # what is made once
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        out = network(x)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept = sum(cost.kept for cost in layer_costs(network, (28, 28, 1), rows))
    assert out.requires_grad
    # Beside the arrays, the graph's objects take about a thousand bytes an op and a layer.
    assert kept <= after - before <= kept + 20_000


def products_of(expression, *shapes):
    leaves = [tg.Tensor(np.ones(shape), requires_grad=True) for shape in shapes]
    out = expression(*leaves)
    return sum(multiply_adds(node) for node in ancestors(out) if node.op is not None)


@pytest.mark.parametrize(
    ("expression", "shapes", "count"),
    [
        (lambda x, y: x @ y, [(4, 3), (3, 5)], 4 * 3 * 5),
        (lambda x, y: x @ y, [(7, 4, 3), (3, 5)], 7 * 4 * 3 * 5),
        (lambda x, y: x @ y, [(3,), (3,)], 3),
        (lambda x, y: np.einsum("bij,bjk->bik", x, y), [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        (lambda x: np.einsum("ij->j", x), [(3, 4)], 0),
        (lambda x, y: np.einsum("ij,ij->i", x, y), [(3, 4), (1, 4)], 12),
        (lambda x, y: np.tensordot(x, y, 1), [(2, 3), (3, 4)], 24),
        (lambda x, w: tg.conv2d(x, w, stride=2, padding=1), [(2, 5, 5, 4), (6, 4, 3, 3)], 2 * 9 * 6 * 4 * 9),
        (lambda x, w: tg.conv2d(x, w, groups=2), [(1, 3, 3, 4), (6, 2, 3, 3)], 6 * 2 * 9),
        (lambda x, y: x * y + x, [(9,), (9,)], 0),
        (tg.checkpoint(lambda x, y: np.sin(x @ y)), [(4, 3), (3, 5)], 60),
    ],
    ids=[
        *("matrices", "batch", "vectors", "einsum", "sum", "broadcast", "tensordot"),
        *("conv", "groups", "none", "again"),
    ],
)
def test_products_are_counted_by_hand(expression, shapes, count):
    assert products_of(expression, *shapes) == count


def test_a_transposed_convolution_spreads_each_pixel_over_a_window():
    count = products_of(lambda x, w: tg.conv_transpose2d(x, w, stride=2), (1, 3, 3, 2), (2, 5, 4, 4))
    assert count == 3 * 3 * 2 * 5 * 16


def test_views_and_shared_arrays_are_counted_once():
    class Views(tg.Layer):
        def __init__(self):
            self.w = tg.Parameter(np.ones(4, np.float32))

        def forward(self, x):
            return (x * self.w).T.T

    (cost,) = layer_costs(tg.Network([Views()]), (4,), 8)
    assert cost.kept == 4 * 8 * (4 + 4)  # x and x * w; the transposes are views


def test_layers_in_front_of_all_parameters_keep_nothing_but_what_is_read_later():
    network = tg.Network([tg.ReLU(), tg.Flatten(), tg.Dense(6, 2, rng=0)])
    relu, flatten, last = layer_costs(network, (2, 3), 5)
    assert (relu.kept, flatten.kept) == (0, 0)
    assert last.kept == 4 * 5 * (6 + 2 + 2)


def test_the_table_adds_up_and_is_the_same_under_no_grad():
    network = convolutional()
    table = network.summary((28, 28, 1), batch_size=8)
    *_, total, last = table.splitlines()
    assert total.split()[1:3] == ["116,234", f"{97344 + 557568 + 102400 + 8192 + 640:,}"]
    assert re.fullmatch(
        r"a step on 8 rows: \S+ kB kept for backward "
        r"\+ 464\.9 kB parameters \+ 464\.9 kB gradients = 1\.6 MB",
        last,
    )
    with tg.no_grad():
        assert network.summary((28, 28, 1), batch_size=8) == table


def test_a_batch_size_must_be_a_positive_integer():
    with pytest.raises(ValueError, match="batch_size to be a positive integer, got 0"):
        dense().summary((28, 28, 1), batch_size=0)


# Layers of one's own are printed


class Residual(tg.Layer):
    def __init__(self, *layers):
        self.block = tg.Network(layers)

    def forward(self, x):
        return x + self.block(x)


class Heads(tg.Layer):
    def __init__(self):
        self.heads = [tg.Dense(3, 2, rng=0), tg.Dense(3, 2, rng=1)]

    def forward(self, x):
        return self.heads[0](x) + self.heads[1](x)


def test_a_layer_of_ones_own_prints_its_name_and_its_children():
    residual = Residual(tg.Dense(3, 8, rng=0), tg.ReLU(), tg.Dense(8, 3, rng=1))
    assert repr(residual) == "Residual(block=Network([Dense(3, 8), ReLU(), Dense(8, 3)]))"
    assert repr(tg.Network([residual, Heads()])) == (
        f"Network([{residual!r}, Heads(heads.0=Dense(3, 2), heads.1=Dense(3, 2))])"
    )
    assert repr(tg.Layer()) == "Layer()"
    residual.owner = residual
    assert repr(residual).endswith("owner=...)")


def test_printed_a_layer_has_a_line_for_each_layer_inside_and_counts_each_parameter_once():
    shared = tg.Dense(3, 3, rng=0)
    residual = Residual(tg.Dense(3, 8, rng=0), tg.ReLU(), shared)
    residual.scale = tg.Parameter(np.ones(3, np.float32))
    residual.owner = residual
    network = tg.Network([residual, shared])
    assert str(network).splitlines() == [
        "Network                     47 parameters",
        "  Residual0: Residual       47",
        "    block: Network          44",
        "      Dense0: Dense(3, 8)   32",
        "      ReLU1: ReLU()",
        "      Dense2: Dense(3, 3)   12",
        "    owner: Residual           the same as Residual0",
        "  Dense1: Dense(3, 3)         the same as Residual0.block.Dense2",
    ]
    assert str(shared) == repr(shared) == "Dense(3, 3)"

    class Mine(tg.Network):
        pass

    assert repr(Mine([shared])) == "Mine([Dense(3, 3)])"


def test_what_comes_again_is_counted_where_it_comes_first():
    shared, tied = tg.Dense(3, 3, rng=0), tg.Dense(3, 3, rng=1)
    tied.weights = shared.weights
    network = tg.Network([shared, tg.ReLU(), shared, tied])
    costs = layer_costs(network, (3,), 2)
    assert [cost.parameters for cost in costs] == [12, 0, 0, 3]
    assert sum(cost.parameters for cost in costs) == sum(p.size for p in network.parameters())


def test_the_summary_has_the_layers_inside_of_a_layer_under_it():
    residual = Residual(tg.Dense(3, 8, rng=0), tg.ReLU(), tg.Dense(8, 3, rng=1))
    table = tg.Network([tg.Dense(5, 3, rng=0), residual, Heads()]).summary(5)
    assert [line.split("   (")[0].rstrip() for line in table.splitlines()[1:-2]] == [
        "0  Dense(5, 3)",
        "1  Residual",
        "     block: Network",
        "       Dense0: Dense(3, 8)",
        "       ReLU1: ReLU()",
        "       Dense2: Dense(8, 3)",
        "2  Heads",
        "     heads.0: Dense(3, 2)",
        "     heads.1: Dense(3, 2)",
    ]
    numbers = [line.split(")  ")[-1].split()[:2] for line in table.splitlines()[1:-2]]
    assert numbers[1] == [str(4 * 8 + 9 * 3), str(2 * 3 * 8)]
    assert numbers[2:6] == [["59", "48"], ["32", "24"], ["0", "0"], ["27", "24"]]
    assert table.splitlines()[-2].split()[1:3] == [str(18 + 59 + 16), str(15 + 48 + 12)]


def test_any_layer_has_a_summary():
    residual = Residual(tg.Dense(3, 8, rng=0), tg.ReLU(), tg.Dense(8, 3, rng=1))
    whole = residual.summary((3,), batch_size=10)
    assert whole.splitlines()[1].split()[:2] == ["0", "Residual"]
    assert whole.splitlines()[-2:] == tg.Network([residual]).summary((3,), batch_size=10).splitlines()[-2:]
    assert "0  Dense(3, 2)" in tg.Dense(3, 2).summary(3)


def test_thousands_of_layers_are_counted_in_a_moment():
    network = tg.Network([tg.ReLU() for _ in range(4000)])
    start = time.process_time()
    assert len(network.summary((1,)).splitlines()) == 4000 + 3
    assert time.process_time() - start < 10  # half a minute if a layer costs a search through those before
