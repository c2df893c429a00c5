"""playground: what a page holds, what is refused, and that its steps are those of NumPy."""

import base64
import functools
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.nn.layer import learn
from tensorgrad.nn.live.demos import digits, spirals

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node to run JavaScript")


def part_of(page, name):
    return re.search(rf'<script id="{name}"[^>]*>(.*?)</script>', page.source, re.DOTALL)[1]


def scenes_of(page):
    return json.loads(part_of(page, "scenes"))


#: Trains some steps as the page does, and tells the rows and masks that its generators gave.
TRAIN = """
const scene = scenes[number];
const trainer = new Trainer(scene, programs, makeOptimizer, () => {});
const rows = [], masks = [], losses = [], list = (arrays) => arrays.map((array) => Array.from(array));
const take = trainer.takeRows.bind(trainer), draw = trainer.draw.bind(trainer);
trainer.takeRows = (count) => (rows.push(take(count)), rows.at(-1));
trainer.draw = (bound) => (draw(bound), masks.push(bound.draws.map(({ mask }) => Array.from(mask))));
for (let i = 0; i < steps; i++) {
  if (!trainer.step()) throw new Error(trainer.problem);
  losses.push(trainer.bind(`step_${trainer.batch}`).made[0][0]);
}
trainer.evaluate();
trainer.frame(true);
console.log(JSON.stringify({
  surface: scene.grid ? list(trainer.surface) : [],
  rows, masks, losses, example: trainer.example, evaluation: trainer.evaluation,
  walk: list(trainer.bind("walk").made),
  parameters: list(trainer.parameters), buffers: list(trainer.buffers),
}));
"""


def train_in_node(page, steps, number=0):
    """What the page's own training does, without the page."""
    script = "\n".join([
        part_of(page, "prelude"), part_of(page, f"programs{number}"), part_of(page, "trainer"),
        f"const scenes = {part_of(page, 'scenes')}, number = {number}, steps = {steps};", TRAIN,
    ])  # fmt: skip
    done = subprocess.run([NODE, "-"], input=script, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def train_in_numpy(network, optimizer, x, y, rows, masks=()):
    """The same steps by the engine, on the same rows; Dropout's masks are given."""
    dropouts = [layer for layer in network.named_layers().values() if isinstance(layer, tg.Dropout)]
    losses = []
    for step, picked in enumerate(rows):
        for layer, mask in zip(dropouts, masks[step] if dropouts else (), strict=True):
            layer._draw = lambda like, mask=mask: np.asarray(mask, like.dtype).reshape(like.shape)
        with learn():
            loss = network.loss(network(x[picked]), y[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def demos():
    return tg.playground()


@needs_node
@pytest.mark.parametrize(("number", "make"), [(0, spirals), (1, digits)], ids=["spirals", "digits"])
def test_a_hundred_steps_are_those_of_numpy(demos, number, make):
    told = make()
    found = train_in_node(demos, 100, number)
    x, y = told["x"], told["y"]
    if "validation" not in told:  # the split of the page
        held = np.sort(np.random.default_rng(0).permutation(len(x))[: len(x) // 5])
        kept = np.setdiff1d(np.arange(len(x)), held)
        x, y, rest = x[kept], y[kept], (x[held], y[held])
    network = told["network"]
    losses = train_in_numpy(network, told["optimizer"](network.parameters()), x, y, found["rows"])
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-5, atol=1e-5)
    for p, values in zip(network.parameters(), found["parameters"], strict=True):
        np.testing.assert_allclose(np.reshape(values, p.shape), p.data, atol=1e-5)
    expected = network.evaluate(*(told.get("validation") or rest), metrics=["accuracy"])
    assert found["evaluation"]["total"] / found["evaluation"]["count"] == pytest.approx(
        expected["loss"], 1e-4
    )
    assert found["evaluation"]["right"] / found["evaluation"]["count"] == pytest.approx(expected["accuracy"])
    flat = np.concatenate(found["rows"])  # each row comes once in each epoch
    assert sorted(flat[: len(x)]) == list(range(len(x)))
    assert losses[-1] < 0.9 * losses[0]


def noise(*shape, dtype=np.float32):
    return np.random.default_rng(5).standard_normal(shape).astype(dtype)


def network_of(*layers, loss="mse"):
    network = tg.Network(layers)
    network.use(loss)
    return network


def mean_and_dropout():
    """BatchNorm and Dropout on images of three channels; Nesterov, decay and clipping."""
    layers = [tg.Conv2D(3, 4, 3, rng=0), tg.BatchNorm(4), tg.ReLU(), tg.Dropout(0.4, rng=0), tg.AvgPool2D(2)]
    network = network_of(*layers, tg.Flatten(), tg.Dense(16, 3, rng=1), loss="cross_entropy")
    options = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "clip_norm": 0.5, "clip_value": 0.1}
    make = lambda parameters: tg.MiniBatchSGD(parameters, 0.05, **options)
    return network, noise(70, 6, 6, 3), np.arange(70) % 3, make, {}


def sum_in_double():
    """A loss that sums, in double precision, of one input and no held-out rows."""
    loss = lambda prediction, y: tg.sum((prediction - y) ** 2)
    network = network_of(
        tg.Dense(1, 6, rng=0, dtype=float), tg.GELU(), tg.Dense(6, 1, rng=1, dtype=float), loss=loss
    )
    x = noise(24, 1, dtype=float)
    make = lambda parameters: tg.AdamW(parameters, 0.02, weight_decay=0.1, amsgrad=True)
    return network, x, np.sin(2 * x), make, {"batch_size": 5, "validation_split": 0}


def one_hot_rows():
    """One-hot targets and probabilities, of which a part of the layers is trained."""
    network = network_of(
        tg.Dense(5, 7, rng=0), tg.LayerNorm(7), tg.Tanh(), tg.Dense(7, 4, rng=1), tg.Softmax()
    )
    make = lambda parameters: tg.Adam(parameters[2:], 0.01)
    return (
        network,
        noise(64, 5),
        np.eye(4, dtype=np.float32)[np.arange(64) % 4],
        make,
        {"features": list("abcde")},
    )


def words():
    """Integers that are looked up; the targets are several numbers."""
    network = network_of(tg.Embedding(9, 3, rng=0), tg.Flatten(), tg.Dense(12, 2, rng=1), loss="mae")
    x = np.random.default_rng(0).integers(0, 9, (50, 4))
    return network, x, noise(50, 2), lambda parameters: tg.MiniBatchSGD(parameters, 0.1), {}


class Residual(tg.Layer):
    """A layer of one's own, of layers that draw and keep statistics."""

    def __init__(self, rng):
        self.first, self.second = tg.Dense(6, 6, rng=rng), tg.Dense(6, 6, rng=rng + 1)
        self.norm, self.dropout = tg.BatchNorm(6), tg.Dropout(0.3, rng=rng)

    def forward(self, x):
        return x + self.second(self.dropout(tg.relu(self.norm(self.first(x)))))


def residual():
    network = network_of(Residual(0), tg.Tanh(), Residual(4), tg.Dense(6, 3, rng=9), loss="cross_entropy")
    make = lambda parameters: tg.MiniBatchSGD(parameters, 0.05, momentum=0.5)
    return network, noise(60, 6), np.arange(60) % 3, make, {}


@needs_node
@pytest.mark.parametrize(
    "make", [mean_and_dropout, sum_in_double, one_hot_rows, words, residual], ids=lambda f: f.__name__
)
def test_steps_of_all_kinds_are_those_of_numpy(make):
    network, x, y, optimizer, options = make()
    options = {"validation_split": 0.25, "batch_size": 16, **options}
    page = tg.playground(network, x, y, optimizer=optimizer, **options)
    found = train_in_node(page, 25)
    held = np.sort(
        np.random.default_rng(0).permutation(len(x))[: round(len(x) * options["validation_split"])]
    )
    kept = np.setdiff1d(np.arange(len(x)), held)
    losses = train_in_numpy(
        network, optimizer(network.parameters()), x[kept], y[kept], found["rows"], found["masks"]
    )
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-5, atol=1e-5)
    for p, values in zip(network.parameters(), found["parameters"], strict=True):
        np.testing.assert_allclose(np.reshape(values, p.shape), p.data, rtol=1e-5, atol=1e-5)
    for b, values in zip(network.buffers(), found["buffers"], strict=True):
        np.testing.assert_allclose(values, b.data, rtol=1e-5, atol=1e-5)
    measured = held if len(held) else kept
    expected = network.evaluate(x[measured], y[measured])
    assert found["evaluation"]["total"] / len(measured) == pytest.approx(expected["loss"], 1e-4)
    if "accuracy" in expected:
        assert found["evaluation"]["right"] / len(measured) == pytest.approx(expected["accuracy"])


@needs_node
@pytest.mark.parametrize("make", [mean_and_dropout, sum_in_double], ids=lambda f: f.__name__)
def test_a_node_shows_the_value_and_the_cotangent_of_the_walk(make):
    network, x, y, _, _ = make()
    network.eval()
    page = tg.playground(network, x, y, validation=(x, y))
    found, (scene,) = train_in_node(page, 0), scenes_of(page)
    row = slice(found["example"] - len(x), found["example"] - len(x) + 1)
    given = tg.Tensor(x[row], requires_grad=True, name="x")
    steps = tg.backward_steps(network.loss(network(given), y[row]))
    graph = {step.name: (step.output.data, step.incoming) for step in steps}
    graph |= {p.name: (p.data, g) for p, g in steps.gradients}
    names = {node["name"] for node in scene["nodes"]}
    assert len(names) == len(scene["nodes"])
    assert len(graph) > 6
    assert graph.keys() <= names
    for node in scene["nodes"]:
        if node["name"] in graph:
            value, cotangent = graph[node["name"]]
            np.testing.assert_allclose(found["walk"][node["value"]], value.ravel(), rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(
                found["walk"][node["cotangent"]], cotangent.ravel(), rtol=1e-4, atol=1e-6
            )
    told = {node["name"]: dict(node["vjps"]) for node in scene["nodes"]}
    for step in steps:
        read = [step.graph.name_of_input(step.output, i) for i in range(len(step.inputs))]
        for name, formula in zip(read, step.formulas, strict=True):  # an array is a node of this graph, too
            assert formula is None or told[step.name][name] == formula.replace("array", "BatchNorm1.sqrt")


@needs_node
@pytest.mark.parametrize(("inputs", "units", "drawn"), [(1, 5, 2), (2, 20, 1)])
def test_the_surface_is_what_the_network_gives_over_its_inputs(inputs, units, drawn):
    layers = [tg.Dense(inputs, units, rng=0), tg.Tanh(), tg.Dense(units, 2, rng=1)]
    network = network_of(*layers, loss="cross_entropy")
    x = noise(30, inputs) * [[1, 1e-9][:inputs]]
    page = tg.playground(network, x, np.arange(30) % 2)
    *others, surface = train_in_node(page, 0)["surface"]
    assert len([*others, surface]) == drawn  # of layers whose units are drawn one by one
    (grid,) = (scene["grid"] for scene in scenes_of(page))
    axes = [np.linspace(*ends, grid["across"]) for ends in zip(*grid["range"], strict=True)]
    for k, axis in enumerate(axes):  # all data lies inside
        assert axis[0] < x[:, k].min() < x[:, k].max() < axis[-1] < x[:, k].max() + 0.1 * np.ptp(x[:, k])
    if inputs == 2:
        axes[1] = axes[1][::-1]  # from above
    points = np.stack([part.ravel() for part in np.meshgrid(*axes)], axis=1).astype(np.float32)
    np.testing.assert_allclose(np.reshape(surface, (-1, 2)), network(points).data, rtol=1e-5, atol=1e-6)


def test_there_is_no_surface_between_whole_numbers_and_room_around_constants():
    words = network_of(tg.Embedding(9, 3, rng=0), tg.Flatten(), tg.Dense(6, 2, rng=1), loss="cross_entropy")
    x = np.random.default_rng(0).integers(0, 9, (50, 2))
    (scene,) = scenes_of(tg.playground(words, x, x[:, 0] % 2))
    assert (scene["grid"], scene["view"]) == (None, "rows")
    network, x, y = plain()
    x[:, 1] = 7
    (scene,) = scenes_of(tg.playground(network, x, y))
    low, high = np.array(scene["grid"]["range"])
    assert low[1] < 6.9
    assert high[1] > 7.1


@needs_node
def test_of_a_large_network_some_held_out_rows_are_measured():
    network = network_of(tg.Dense(784, 200, rng=0), tg.ReLU(), tg.Dense(200, 2, rng=1), loss="cross_entropy")
    x = np.random.default_rng(0).integers(0, 4, (600, 784)).astype(np.float32)
    y = np.arange(600) // 300  # sorted, so that the first rows are not like the others
    page = tg.playground(network, x[::3], y[::3], validation=(x, y))
    found = train_in_node(page, 0)["evaluation"]
    assert found["count"] == 50_000_000 // (784 * 200 + 200 * 2)
    rows = np.arange(found["count"]) * 600 // found["count"]
    expected = network.evaluate(x[rows], y[rows])
    assert found["total"] / found["count"] == pytest.approx(expected["loss"], 1e-4)
    assert found["right"] / found["count"] == pytest.approx(expected["accuracy"])


def test_a_layer_that_comes_twice_has_two_columns():
    dense, last = tg.Dense(2, 2, rng=0), tg.Dense(2, 3, rng=1)
    network = network_of(dense, tg.Tanh(), dense, last, loss="cross_entropy")
    (scene,) = scenes_of(tg.playground(network, *plain()[1:]))
    shown = [scene["nodes"][column["node"]] for column in scene["columns"]]
    assert [node["name"] for node in shown] == ["x", "Tanh1", "Dense0_2", "Dense3"]
    own = [[scene["nodes"][i]["name"] for i in node["own"]] for node in shown]
    assert own == [[], *[["Dense0.weights", "Dense0.bias"]] * 2, ["Dense3.weights", "Dense3.bias"]]


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (lambda ps: tg.MiniBatchSGD(ps, 20.0), "momentum nesterov weight_decay decoupled_weight_decay"),
        (lambda ps: tg.Adam(ps, clip_norm=1.0), "betas betas eps weight_decay amsgrad clip_norm"),
    ],
)
def test_there_is_a_control_for_each_option(optimizer, names):
    (scene,) = scenes_of(tg.playground(*plain(), optimizer=optimizer, batch_size=7))
    controls = {control["name"]: control for control in scene["controls"]}
    listed = [control["name"] for control in scene["controls"]]
    assert listed == ["speed", "learning_rate", "batch", *names.split()]
    assert controls["batch"]["choices"] == [1, 4, 7, 16]  # of 24 rows
    rate = controls["learning_rate"]
    assert rate["low"] <= np.log10(rate["value"]) <= rate["high"]  # also where it is unusual


# What is left alone, and what is refused


def state_of(network):
    return {
        "arrays": {name: x.tobytes() for name, x in network.state().items()},
        "gradients": [np.asarray(p.grad).tobytes() for p in network.parameters()],
        "modes": [layer.training for layer in network.named_layers().values()],
        "generators": [str(g.bit_generator.state) for g in network.named_generators().values()],
        "loss": network.loss, "history": network.history, "names": [p.name for p in network.parameters()],
    }  # fmt: skip


def test_the_network_and_the_optimizer_stay_as_they_are():
    network, x, y, make, _ = mean_and_dropout()
    network.fit(x, y, 1, optimizer=make, verbose=False, seed=0)
    network.layers[3].eval()
    optimizer = make(network.parameters())
    before, state = state_of(network), repr(optimizer.state())
    (scene,) = scenes_of(tg.playground(network, x, y, optimizer=optimizer, loss=tg.cross_entropy))
    assert state_of(network) == before
    assert repr(optimizer.state()) == state
    assert scene["programs"]["step_32"]["draws"] == []  # the Dropout that computes as at inference
    assert len(scene["programs"]["step_32"]["reports"]) == 1


def plain():
    return network_of(tg.Dense(2, 3, rng=0), loss="cross_entropy"), noise(30, 2), np.arange(30) % 3


def own_layer(forward):
    return type("Own", (tg.Layer,), {"forward": forward})()


class Own(tg.Layer):
    def __init__(self):
        self.unused = tg.Parameter(np.ones(2, np.float32), name="unused")

    def forward(self, x):
        return x


@functools.cache  # made in the test alone: no other sees the op
def halver():
    @tg.op
    def halve(x):
        return np.array([[value / 2 for value in row] for row in x.tolist()], x.dtype)

    halve.defvjp(x=lambda g, out, x: g / 2)
    return halve


NAN = np.where(np.arange(60).reshape(30, 2) == 7, np.nan, noise(30, 2))


def of_classes(*layers):
    return {"network": network_of(*layers, loss="cross_entropy")}


DENSE, MANY, OTHER = tg.Dense(2, 3, rng=0), np.arange(400_000) % 3, tg.Adam([tg.Parameter([1.0])])
REFUSED = [
    (TypeError, "expected a Network, got Dense", {"network": DENSE}),
    (TypeError, "expected examples x and y", {"y": None}),
    (TypeError, "expected a network with x and y, or nothing at all", {"network": None}),
    (ValueError, "playground, x: expected finite numbers, got nan in row 3", {"x": NAN}),
    (ValueError, r"expected input of shape \(N, 2\), got \(1, 3\)", {"x": noise(30, 3)}),
    (ValueError, "expected as many targets as inputs, got 29 for 30", {"y": np.zeros(29, int)}),
    (ValueError, "expected labels from 0 to 2", {"y": np.full(30, 3)}),
    (ValueError, "no loss is set", {"network": tg.Network([DENSE])}),
    (ValueError, "takes logits", of_classes(DENSE, tg.Softmax())),
    (ValueError, "has 251,000 parameters, too many for a page", of_classes(tg.Dense(250, 1000))),
    (ValueError, "would have 4.* MB or more, at most 3", {"x": noise(400_000, 2), "y": MANY}),
    (ValueError, "names of 3 classes, got 2", {"classes": ["a", "b"]}),
    (ValueError, "names of 2 features, got 3", {"features": "abc"}),
    (ValueError, "got both", {"validation": (noise(4, 2), MANY[:4]), "validation_split": 0.5}),
    (TypeError, "expected validation to be a pair", {"validation": 0.5}),
    (ValueError, "rows like those of x and y", {"validation": (noise(2, 2), np.eye(3)[:2])}),
    (ValueError, "batch_size to be a positive integer", {"batch_size": 0}),
    (TypeError, "seed to be an integer", {"seed": 0.5}),
    (ValueError, "to be set in the optimizer", {"optimizer": OTHER, "learning_rate": 0.1}),
    (ValueError, "the optimizer has parameters of something else", {"optimizer": OTHER}),
    (ValueError, "one group", {"optimizer": lambda ps: tg.Adam([{"parameters": [p]} for p in ps])}),
    (TypeError, "tensorgrad's own optimizers, got Mine", {"optimizer": type("Mine", (tg.Adam,), {})}),
    (
        tg.UncompilableError,
        "playground: (?!.*compile: ).*halve",
        of_classes(DENSE, own_layer(lambda self, x: halver()(x))),
    ),
    (ValueError, "each row by itself", of_classes(DENSE, own_layer(lambda self, x: x - tg.mean(x, axis=0)))),
    (ValueError, "the loss does not depend on Parameter 'Own1.unused'", of_classes(DENSE, Own())),
]


@pytest.mark.parametrize(("error", "words", "changed"), REFUSED, ids=[words for _, words, _ in REFUSED])
def test_what_cannot_be_shown_is_refused(tmp_path, error, words, changed):
    network, x, y = plain()
    given = {"network": network, "x": x, "y": y, "path": tmp_path / "page.html", **changed}
    with pytest.raises(error, match=words):
        tg.playground(**given)
    assert list(tmp_path.iterdir()) == []


# The file


NASTY = [
    "</script><b>x</b>",
    "<!-- <script>",
    "@scenes@ @page@",
    "\\u003c",
    "a\u2028b",
    "\ud800",
    '" onload="x',
]


@pytest.mark.parametrize("name", NASTY)
def test_names_cannot_break_out_of_the_page(tmp_path, name):
    network, x, y = plain()
    network.layers[0].weights.name = name
    page = tg.playground(
        network, x, y, tmp_path / "page.html", classes=[name, "b", "c"], features=[name, "q"], title=name
    )
    (scene,) = scenes_of(page)
    assert scene["classes"][0] == scene["features"][0] == scene["title"] == name
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert written == page.source.replace("\ud800", "?")
    assert written.count("<script") == 6
    assert written.count("</script") == 6


def test_the_page_is_small_and_needs_nothing_else(demos):
    assert len(demos.source.encode()) < 600_000
    assert set(re.findall(r"https?://[^\s\"'<]+", demos.source)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml",
    }  # fmt: skip
    assert not re.search(r"<(link|img|iframe)\b|\bsrc=|@import|url\((?!#)", demos.source)
    assert repr(demos).startswith("<Playground")
    assert demos._repr_html_().startswith("<div><iframe")


def test_arrays_come_back_as_they_were():
    (scene,) = scenes_of(tg.playground(*plain(), validation_split=0))
    x = plain()[1]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(scene["x"]["base64"]), "<f4"), x.ravel())
    data = digits()
    shown = scenes_of(tg.playground(*(data[key] for key in ("network", "x", "y")), validation_split=0))[0][
        "x"
    ]
    levels = np.frombuffer(base64.b64decode(shown["levels"]["base64"]), "<f4")
    assert len(levels) == 17
    places = np.frombuffer(base64.b64decode(shown["base64"]), np.uint8)
    np.testing.assert_array_equal(levels[places], data["x"].ravel())
