"""to_dot: the text itself for small graphs, and its meaning as a small reader of DOT and Graphviz see it."""

import html
import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest

import tensorgrad as tg

HEAD = 'digraph {\n  rankdir=BT\n  node [fontname="Helvetica" fontsize=11]\n'
OP = 'shape=ellipse style=filled fillcolor="#dce9f5"'
PARAMETER = 'shape=box style="filled,rounded" fillcolor="#fbe3c0"'
TENSOR = 'shape=box style=filled fillcolor="#e6e6e6"'
CONSTANT = "shape=box style=dashed"

TOKEN = re.compile(r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[\w.]+)|(?P<mark>->|[{}\[\]=]))', re.DOTALL)


def tokens(text):
    position, text = 0, text.rstrip()
    while position < len(text):
        token = TOKEN.match(text, position)
        assert token, f"no DOT from here: {text[position : position + 40]!r}"
        position = token.end()
        yield token[token.lastgroup]


def read(text):
    """Nodes as {id: label} and edges as [(from, to)], by the grammar of DOT as far as to_dot uses it."""
    nodes, edges = {}, []
    words = list(tokens(text))
    assert words[:2] == ["digraph", "{"]
    assert words[-1] == "}"
    i = 2
    while i < len(words) - 1:
        if words[i + 1] == "=":
            i += 3
        elif words[i + 1] == "->":
            edges.append((words[i], words[i + 2]))
            i += 3
        else:
            assert words[i + 1] == "["
            end = words.index("]", i)
            attributes = {words[k]: words[k + 2] for k in range(i + 2, end, 3)}
            assert all(words[k] == "=" for k in range(i + 3, end, 3))
            if words[i] != "node":
                assert words[i] not in nodes, "a node came twice"
                nodes[words[i]] = unescaped(attributes["label"])
            i = end + 1
    return nodes, edges


def unescaped(string):
    """What a quoted label shows: the scanner undoes escaped quotes, the label escapes and HTML entities."""
    inner = re.sub(r"\\(\\|\")", lambda m: '"' if m[1] == '"' else r"\\", string[1:-1])
    return html.unescape(re.sub(r"\\(.)", lambda m: {"n": "\n", "\\": "\\"}[m[1]], inner))


def leaf(name=None, shape=(2,)):
    return tg.Tensor(np.ones(shape), requires_grad=True, name=name)


def diamond():
    x = leaf("x")
    a = x * 3.0
    return np.exp(a) + a * x


def product():
    w = tg.Parameter(np.ones((2, 3)), name="w", dtype="float32")
    return np.ones((4, 2), dtype="float32") @ w


# Leaves are numbered first, then results as they were computed; c and a position mark a result's constant.
LITERALS = {
    "a parameter and an array": (
        product,
        [
            f'n0 [label="w\\n(2, 3) float32" {PARAMETER}]',
            f'n1 [label="matmul\\n(4, 3) float32" {OP}]',
            f'n1c0 [label="array\\n(4, 2) float32" {CONSTANT}]',
            "n1c0 -> n1",
            "n0 -> n1",
        ],
    ),
    "a diamond": (
        diamond,
        [
            f'n0 [label="x\\n(2,) float64" {TENSOR}]',
            f'n1 [label="multiply\\n(2,) float64" {OP}]',
            f'n1c1 [label="3.0" {CONSTANT}]',
            f'n2 [label="exp\\n(2,) float64" {OP}]',
            f'n3 [label="multiply\\n(2,) float64" {OP}]',
            f'n4 [label="add\\n(2,) float64" {OP}]',
            "n0 -> n1",
            "n1c1 -> n1",
            "n1 -> n2",
            "n1 -> n3",
            "n0 -> n3",
            "n2 -> n4",
            "n3 -> n4",
        ],
    ),
    "a leaf made after a result": (
        lambda: tg.exp(leaf("x")) + leaf("y"),
        [
            f'n0 [label="x\\n(2,) float64" {TENSOR}]',
            f'n1 [label="y\\n(2,) float64" {TENSOR}]',
            f'n2 [label="exp\\n(2,) float64" {OP}]',
            f'n3 [label="add\\n(2,) float64" {OP}]',
            "n0 -> n2",
            "n2 -> n3",
            "n1 -> n3",
        ],
    ),
    "one tensor read twice by one op": (
        lambda: (lambda x: x * x)(leaf("x")),
        [
            f'n0 [label="x\\n(2,) float64" {TENSOR}]',
            f'n1 [label="multiply\\n(2,) float64" {OP}]',
            "n0 -> n1",
            "n0 -> n1",
        ],
    ),
    "a leaf alone": (
        lambda: tg.Tensor(3.0),
        [f'n0 [label="tensor\\n() float64" {TENSOR}]'],
    ),
    "a parameter alone, without a name": (
        lambda: tg.Parameter([[1.0]]),
        [f'n0 [label="parameter\\n(1, 1) float64" {PARAMETER}]'],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("build", "lines"), LITERALS.values(), ids=LITERALS)
def test_the_text_of_small_graphs(build, lines):
    assert tg.to_dot(build()) == HEAD + "".join(f"  {line}\n" for line in lines) + "}"


def test_the_text_is_the_same_for_the_same_computation_whatever_came_between():
    first = tg.to_dot(diamond())
    _ = [leaf() * 2 for _ in range(10)]
    assert tg.to_dot(diamond()) == first


def test_assigning_a_leaf_does_not_reorder_the_drawing():
    x = leaf("x")
    y = np.exp(x)
    before = tg.to_dot(y)
    x.data = np.zeros(2)
    assert tg.to_dot(y) == before


def test_drawing_changes_nothing():
    y = diamond().sum()
    tg.to_dot(y)
    y.backward()
    x = y.inputs[0].inputs[1].inputs[1]
    assert (x.name, x.grad.shape) == ("x", (2,))


def test_every_tensor_is_one_node_however_often_it_is_read():
    x = leaf("x")
    for _ in range(40):
        x = x + x  # 2^40 paths
    nodes, edges = read(tg.to_dot(x))
    assert list(nodes) == [f"n{i}" for i in range(41)]
    assert edges == [(f"n{i}", f"n{i + 1}") for i in range(40) for _ in range(2)]


def test_a_named_result_shows_its_op_and_its_name():
    y = leaf() * 2.0
    y.name = "twice"
    assert read(tg.to_dot(y))[0]["n1"] == "multiply\ntwice\n(2,) float64"


def test_a_whole_network_shows_parameters_by_name_and_leaves_out_the_absent_bias():
    network = tg.Network([tg.Conv2D(1, 2, 3, rng=0), tg.MaxPool2D(2), tg.Flatten(), tg.Dense(8, 1, rng=0)])
    nodes, _ = read(
        tg.to_dot(tg.mse(network(np.ones((1, 6, 6, 1), np.float32)), np.ones((1, 1), np.float32)))
    )
    shown = {label.split("\n")[0] for label in nodes.values()}
    assert shown >= {"Conv2D0.filters", "Conv2D0.bias", "Dense3.weights", "Dense3.bias"}
    assert shown >= {"conv2d", "max_pool", "reshape", "matmul", "add", "mse"}
    without_bias, _ = read(tg.to_dot(tg.conv2d(leaf(shape=(1, 3, 3, 1)), np.ones((1, 1, 2, 2)))))
    assert not any("None" in label for label in without_bias.values())


NAMES = [
    'say "x"',
    "back\\slash",
    "two\nlines",
    'all \\" of\\n them\\',
    "\\",
    '"',
    "\\N \\G",
    "<b>&amp;</b>",
    "größe ∂",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_comes_through(name):
    nodes, edges = read(tg.to_dot(leaf(name) * 2.0))
    assert nodes["n0"] == f"{name}\n(2,) float64"
    assert edges == [("n0", "n1"), ("n1c1", "n1")]


@pytest.fixture(scope="module")
def dot():
    return shutil.which("dot") or pytest.skip("Graphviz's command dot is not installed")


@pytest.mark.parametrize("name", NAMES)
def test_graphviz_shows_any_name(dot, name):
    text = tg.to_dot(leaf(name) * 2.0)
    done = subprocess.run([dot, "-Tsvg"], input=text, capture_output=True, encoding="utf-8", check=True)
    assert done.stderr == ""
    texts = [
        element.text
        for element in ElementTree.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}text")
    ]
    shown = [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts]
    assert shown == [*name.split("\n"), "(2,) float64", "multiply", "(2,) float64", "2.0"]


def test_a_chain_of_50_000_ops_is_drawn_without_recursion():
    x = leaf("x")
    for _ in range(50_000):
        x = -x
    nodes, edges = read(tg.to_dot(x))
    assert len(nodes) == 50_001
    assert edges[-1] == ("n49999", "n50000")


@pytest.mark.parametrize(
    "thing", [np.ones(2), 3.0, None, [leaf()], tg.Dense(1, 1)], ids=lambda t: type(t).__name__
)
def test_only_a_tensor_can_be_drawn(thing):
    with pytest.raises(TypeError, match=rf"to_dot: expected a Tensor, got a {type(thing).__name__}"):
        tg.to_dot(thing)
