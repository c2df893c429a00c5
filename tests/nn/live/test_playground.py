"""playground: what a page holds, what is refused, and that its steps are those of NumPy."""

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
const rows = [], masks = [], losses = [];
const take = trainer.takeRows.bind(trainer), draw = trainer.draw.bind(trainer);
trainer.takeRows = (count) => (rows.push(take(count)), rows.at(-1));
trainer.draw = (bound) => (draw(bound), masks.push(bound.draws.map(({ mask }) => Array.from(mask))));
for (let i = 0; i < steps; i++) {
  if (!trainer.step()) throw new Error(trainer.problem);
  losses.push(trainer.bind(`step_${trainer.batch}`).made[0][0]);
}
trainer.evaluate();
console.log(JSON.stringify({
  rows, masks, losses, parameters: trainer.parameters.map((p) => Array.from(p)),
  buffers: trainer.buffers.map((b) => Array.from(b)), evaluation: trainer.evaluation,
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
    dropouts = [layer for layer in network.layers if isinstance(layer, tg.Dropout)]
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
