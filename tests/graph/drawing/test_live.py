"""The live mode of the player: what the page shows of other numbers is what a new player shows of them."""

import base64
import json
import re

import numpy as np
import pytest

import tensorgrad as tg

LAYERS = [
    tg.Conv2D(1, 3, 3, dtype=float, rng=0), tg.Tanh(), tg.MaxPool2D(2), tg.Flatten(),
    tg.Dense(27, 3, dtype=float, rng=1),
]  # fmt: skip


def by_hand(x, y):
    x, y = (tg.Tensor(v, requires_grad=True, name=name) for v, name in ((x, "x"), (y, "y")))
    a = x * 3.0
    return np.log(a) + a * y


def classify(image, bias):
    network = tg.Network(LAYERS)
    network.layers[4].bias.data = bias
    return tg.cross_entropy(network(tg.Tensor(image, name="image")), np.array([0, 2]))


def compare(labels):
    scores = tg.Tensor([[0.5, 1.0, -1.0], [2.0, 0.0, 1.0]], requires_grad=True, name="scores")
    return tg.cross_entropy(scores, tg.Tensor(labels, name="labels"))


IMAGE, BIAS = np.random.default_rng(0).standard_normal((2, 8, 8, 1)), np.array([0.1, -0.25, 1.0])


def walk_of(played):
    return json.loads(re.search(r'<script id="walk"[^>]*>(.*?)</script>', played.source, re.DOTALL)[1])


def entries(walk):
    """All that shows numbers: the nodes by their names, the rows of steps, and the cotangents in nodes."""
    found = dict(walk["nodes"])
    for k, frame in enumerate(walk["frames"]):
        found |= {f"{k} {i}": row for i, row in enumerate(frame["rows"])}
        found |= {f"{k} {i} in all": row["total"] for i, row in enumerate(frame["rows"]) if "total" in row}
        found |= {f"{k} came": frame["incoming"]} if frame["incoming"] else {}
    return found


SHOWN = """(() => {
    const all = Object.entries(nodes).map(([name, node]) => [name, node]);
    frames.forEach((frame, k) => {
        frame.rows.forEach((row, i) => {
            all.push([`${k} ${i}`, row]);
            if (row.total) all.push([`${k} ${i} in all`, row.total]);
        });
        if (frame.incoming) all.push([`${k} came`, frame.incoming]);
    });
    const tiles = (entry) => {
        const { top, tones, pixels } = pictureOf(entry);
        return [top, [...(tones ?? Int8Array.from(atob(pixels), (letter) => letter.charCodeAt(0)))]];
    };
    return all.map(([name, entry]) => [name, valueOf(entry), entry.picture === null ? null : tiles(entry)]);
})()"""


NUMBER = r"(-?\d+(?:\.\d+)?(?:e[-+]\d+)?)"


def require_shown(browser, played):
    """The page shows the numbers and the pictures that a new player has."""
    walk = walk_of(played)
    expected, shown = entries(walk), browser.run(SHOWN)
    assert {name for name, *_ in shown} == expected.keys()
    for name, text, tiles in shown:
        entry = expected[name]
        found, wanted = (re.split(NUMBER, written) for written in (text, entry["value"]))
        assert found[::2] == wanted[::2], name
        found, wanted = (np.array(numbers[1::2], float) for numbers in (found, wanted))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12, err_msg=name)
        if tiles is not None:
            picture = walk["pictures"][entry["picture"]]
            np.testing.assert_allclose(tones(*tiles), tones(picture["top"], decode(picture)), atol=0.01)
    assert browser.problems == []


def tones(top, pixels):
    return float(top) * np.array(pixels) / 127


def decode(picture):
    return np.frombuffer(base64.b64decode(picture["pixels"]), np.int8)


@pytest.fixture
def open_page(browser, tmp_path):
    def open_page(output, step=99, **size):
        played = tg.player(output, tmp_path / "walk.html", live=True)
        assert "live" in walk_of(played)
        browser.problems.clear()
        browser.open(f"{(tmp_path / 'walk.html').as_uri()}#step={step}", **size)
        return browser

    return open_page


def choose(browser, leaf, value, *index):
    """Select an element by the fields, and write a number into the field of its value."""
    script = """(([leaf, value, ...index]) => {
        const write = (field, value) => { field.value = value; field.dispatchEvent(new Event("input")); };
        const option = [...document.querySelectorAll("#leaf option")].find((one) => one.textContent === leaf);
        write(document.querySelector("#leaf"), option.value);
        document.querySelectorAll("#places input").forEach((field, axis) => write(field, index[axis]));
        write(document.querySelector("#number"), value);
    })"""
    browser.run(f"{script}({json.dumps([leaf, value, *index])})")


def test_numbers_are_written_as_python_writes_them(open_page):
    large = tg.Tensor(IMAGE, requires_grad=True, name="large")
    values = [[[1e-7, -123456.0, 0.5]], [[np.inf, np.nan, 7e20]]]
    page = open_page(tg.sum(large[:1] * 3) + tg.sum(tg.Tensor(values, requires_grad=True) * 1.0))
    page.run("compute(), changed = true")
    require_shown(
        page, tg.player(tg.sum(large[:1] * 3) + tg.sum(tg.Tensor(values, requires_grad=True) * 1.0))
    )


def test_everything_follows_a_number(open_page):
    page = open_page(by_hand(3.0, 2.0))
    choose(page, "y", -0.7)
    require_shown(page, tg.player(by_hand(3.0, -0.7)))
    assert page.run('document.querySelector("#told").textContent').startswith("add: -4.10278")
    page.click("#recorded")
    require_shown(page, tg.player(by_hand(3.0, 2.0)))
    assert page.run('document.querySelector("#recorded").disabled')


def test_everything_follows_in_a_network_with_its_pictures(open_page):
    image, bias = IMAGE.copy(), BIAS.copy()
    image[1, 7, 0], image[0, 2, 2], bias[2] = 3.5, -4.0, -2.0
    page = open_page(classify(IMAGE, BIAS))
    choose(page, "image", 3.5, 1, 7, 0, 0)
    choose(page, "image", -4, 0, 2, 2, 0)
    choose(page, "Dense4.bias", -2, 2)
    require_shown(page, tg.player(classify(image, bias)))


def test_arrow_keys_change_the_number_and_not_the_step(open_page):
    page = open_page(by_hand(3.0, 2.0), step=3)
    page.run('document.querySelector("#number").focus()')
    page.key("ArrowUp")
    require_shown(page, tg.player(by_hand(3.1, 2.0)))
    page.run('document.querySelector("#drag").focus()')
    page.key("ArrowRight")
    assert page.run("[at, given[leaf.given][0] > 3.1]") == [3, True]


def test_a_node_is_dragged_to_and_fro(open_page):
    page = open_page(by_hand(3.0, 2.0))
    place = page.run('figures[live.leaves[1].node].querySelector("text").getBoundingClientRect().toJSON()')
    y = place["y"] + place["height"] / 2
    for kind, x in (("mousePressed", 0), ("mouseMoved", 30), ("mouseMoved", 50), ("mouseReleased", 50)):
        page.call(
            "Input.dispatchMouseEvent",
            type=kind,
            button="left",
            buttons=1,
            clickCount=1,
            x=place["x"] + x,
            y=y,
        )
    assert page.run("leaf.title") == "y"
    changed = float(page.run("given[live.leaves[1].given][0]"))
    assert changed == 2.0 + 50 / 200 * 4.0  # 200 pixels are the range of the slider
    require_shown(page, tg.player(by_hand(3.0, changed)))
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=place["x"], y=y)
    assert page.run("given[live.leaves[1].given][0]") == changed


def test_what_cannot_be_followed_is_told_and_undone(open_page):
    page = open_page(compare([0, 2]))
    choose(page, "labels", 1, 0)
    require_shown(page, tg.player(compare([1, 2])))
    choose(page, "labels", 3, 1)
    told = page.run('document.querySelector("#told").textContent')
    assert told.startswith("labels cannot be 3: the function would do something else")
    require_shown(page, tg.player(compare([1, 2])))


def test_without_a_rule_it_is_refused_and_the_op_named():
    x = tg.Tensor(np.eye(2) * 2, requires_grad=True)
    with pytest.raises(tg.UncompilableError, match="player: live: there is no rule for inv in JavaScript"):
        tg.player(tg.sum(np.linalg.inv(x)), live=True)
    with pytest.raises(tg.UncompilableError, match="expected float32 or float64 throughout"):
        tg.player(tg.sum(tg.Tensor(np.ones(2, np.float16), requires_grad=True)), live=True)
    large = tg.Tensor(np.ones(2_000_000, np.float32), requires_grad=True)
    with pytest.raises(ValueError, match=r"player: live: .* numbers are too many to compute with in a page"):
        tg.player(tg.sum(large * 2.0 + np.exp(large)), live=True)
    with pytest.raises(TypeError, match="live to be True or False"):
        tg.player(tg.sum(x), live="yes")


def test_conditions_that_were_decided_before_are_named(open_page):
    def piecewise(x):
        x = tg.Tensor(np.array(x), requires_grad=True, name="x")
        bent = np.where(x > 0, x, 0.1 * x)
        return tg.sum(bent * (x < 9) + np.maximum(x, 0))

    page = open_page(piecewise([1.0, -2.0]))
    assert page.run("document.querySelector('#kept').textContent").endswith(
        "conditions in where, multiply_2."
    )
    choose(page, "x", 3.0, 1)
    assert page.run("nodes[live.output].title") == "sum"
    assert float(page.run("valueOf(nodes[live.output])")) == 1 + 1 + 0.1 * 3 + 3  # by the branch of before
    page = open_page(by_hand(3.0, 2.0))
    assert page.run("document.querySelector('#kept')") is None


def test_only_a_live_page_has_an_engine():
    assert "engine" not in tg.player(by_hand(3.0, 2.0)).source


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_can_be_read(open_page, dark):
    page = open_page(classify(IMAGE, BIAS), width=390, height=780)
    page.dark(dark)
    assert page.run("document.documentElement.scrollWidth") <= 390
    boxes = page.run(
        """["#number", "#drag", "#recorded", "#told"].map(s =>
            document.querySelector(s).getBoundingClientRect().toJSON())"""
    )
    assert all(0 <= box["left"] < box["right"] <= 390 and box["bottom"] <= 780 for box in boxes)


@pytest.mark.parametrize("name", ["</script><b>x</b>", "@live@ */", "class", "s_exp", "\u2028", "made"])
def test_names_of_all_kinds_are_names(open_page, name):
    page = open_page(tg.sum(np.exp(tg.Tensor([1.0, 2.0], requires_grad=True, name=name)) * 2.0))
    page.run("choose(live.leaves[0]), change(0.5)")
    require_shown(page, tg.player(tg.sum(np.exp(tg.Tensor([0.5, 2.0], requires_grad=True, name=name)) * 2.0)))
