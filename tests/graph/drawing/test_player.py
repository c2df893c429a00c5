"""player: what the file holds, and how it behaves in a real browser."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from browser import EXECUTABLE, Browser

import tensorgrad as tg


def by_hand():
    """x = 3, y = 2: log(3 x) + 3 x y, with the walk add, multiply, log, multiply."""
    x = tg.Tensor(3.0, requires_grad=True, name="x")
    y = tg.Tensor(2.0, requires_grad=True, name="y")
    a = x * 3.0
    return np.log(a) + a * y


def walk_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="walk"[^>]*>(.*?)</script>', text, re.DOTALL)[1])


# The file


def test_the_frames_are_the_walk_forward_and_back(tmp_path):
    walk = walk_of(tg.player(by_hand(), tmp_path / "walk.html"))
    assert [frame["title"] for frame in walk["frames"]] == [
        "What is given",
        *("multiply_1", "log", "multiply_2", "add"),
        "The walk back begins",
        *("vjp of add", "vjp of multiply_2", "vjp of log", "vjp of multiply_1"),
        "The gradients",
    ]
    rows = {row["name"]: row["value"] for row in walk["frames"][-1]["rows"]}
    assert rows == {"x": "6.33333", "y": "9.0"}  # 3 (1/9 + 2) and 9
    assert walk["frames"][1]["call"] == "multiply_1 = multiply(x, 3.0)"


def test_nothing_is_fetched_from_anywhere(tmp_path):
    text = tg.player(by_hand(), tmp_path / "walk.html").read_text(encoding="utf-8")
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not places
    assert not re.search(r"<(link|img|iframe)\b|\bsrc=|@import|url\((?!#)", text)


def test_grad_is_left_alone_and_a_cotangent_can_be_given(tmp_path):
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    with pytest.raises(ValueError, match="not a scalar"):
        tg.player(x * 2.0, tmp_path / "walk.html")
    walk = walk_of(tg.player(x * 2.0, tmp_path / "walk.html", grad=[1.0, 10.0]))
    assert walk["frames"][-1]["rows"][0]["value"] == "[2, 20]"
    assert x.grad is None


def test_what_cannot_be_played_is_refused(tmp_path):
    with pytest.raises(TypeError, match="player: expected a Tensor, got a float"):
        tg.player(1.0, tmp_path / "walk.html")
    y = tg.Tensor(1.0, requires_grad=True)
    for _ in range(301):
        y = -y
    with pytest.raises(ValueError, match="302 nodes are too many to follow"):
        tg.player(y, tmp_path / "walk.html")
    assert not (tmp_path / "walk.html").exists()


NASTY = ["</script><b>x</b>", "<!-- <script>", "@svg@ @data@", "\\u003c", "a\u2028b", "\ud800", '" onload="x']


@pytest.mark.parametrize("name", NASTY)
def test_names_cannot_break_out_of_the_page(tmp_path, name):
    x = tg.Tensor(1.0, requires_grad=True, name=name)
    path = tg.player(x * 2.0, tmp_path / "walk.html", title=name)
    walk = walk_of(path)
    assert walk["frames"][-1]["rows"][0]["name"] == name.replace("\ud800", "?")
    assert path.read_text(encoding="utf-8").count("<script") == 2


def test_large_arrays_are_summarised(tmp_path):
    x = tg.Tensor(np.arange(10_000.0).reshape(100, 100), requires_grad=True, name="x")
    path = tg.player(x.mean(), tmp_path / "walk.html")
    values = {node["title"]: node["value"] for node in walk_of(path)["nodes"].values()}
    assert values["x"] == "10,000 values from 0 to 9999, mean 5000, norm 5.773e+05"
    assert path.stat().st_size < 60_000


# In the browser


@pytest.fixture(scope="module")
def browser():
    if EXECUTABLE is None:
        pytest.skip("Chromium is not installed")
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module", params=["dot", "without Graphviz"])
def page(request, browser, tmp_path_factory):
    """The address of a file, with each of the two layouts."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "dot":
            shutil.which("dot") or pytest.skip("Graphviz's command dot is not installed")
        else:
            patch.setenv("PATH", "")
            patch.setitem(sys.modules, "pygraphviz", None)
        path = tg.player(by_hand(), tmp_path_factory.mktemp("player") / "walk.html")
    assert ("laid out without Graphviz" in path.read_text(encoding="utf-8")) == (request.param != "dot")
    return path.as_uri()


@pytest.fixture
def shown(browser, page):
    browser.problems.clear()
    browser.dark(False)
    browser.open(page)
    yield browser
    assert browser.problems == []


def heading(browser):
    return ": ".join(browser.run('[".phase", "h2"].map(s => document.querySelector(s).textContent)'))


def nodes(browser, state):
    """The first lines of the nodes in a state."""
    lines = (
        f'[...document.querySelectorAll("svg .node.{state}")].map(g => g.querySelector("text").textContent)'
    )
    return sorted(line.replace("\N{NO-BREAK SPACE}", " ") for line in browser.run(lines))


def test_arrow_keys_go_to_and_fro(shown):
    assert heading(shown) == "Forward · 0 of 10: What is given"
    shown.key("ArrowRight")
    assert heading(shown) == "Forward · 1 of 10: multiply_1"
    shown.key("ArrowRight")
    shown.key("ArrowRight")
    shown.key("ArrowLeft")
    assert heading(shown) == "Forward · 2 of 10: log"
    shown.key("End")
    assert heading(shown) == "Backward · 10 of 10: The gradients"
    shown.key("ArrowRight")  # nothing comes after the end
    assert heading(shown).startswith("Backward · 10 of 10")
    shown.key("Home")
    shown.key("ArrowLeft")
    assert heading(shown).startswith("Forward · 0 of 10")


def test_buttons_go_to_and_fro_and_are_off_at_the_ends(shown):
    def off():
        return shown.run('[...document.querySelectorAll("button:disabled")].map(b => b.id).join()')

    assert off() == "first,previous"
    shown.click("#next")
    shown.click("#next")
    assert heading(shown) == "Forward · 2 of 10: log"
    assert off() == ""
    shown.click("#previous")
    assert heading(shown) == "Forward · 1 of 10: multiply_1"
    shown.click("#last")
    assert heading(shown) == "Backward · 10 of 10: The gradients"
    assert off() == "next,last"
    shown.click("#first")
    assert heading(shown).startswith("Forward · 0 of 10")


def test_arrow_keys_work_after_a_click_and_on_the_slider(shown):
    shown.click("#next")
    shown.key("ArrowRight")
    assert heading(shown).startswith("Forward · 2 of 10")
    shown.run('document.getElementById("slider").focus()')
    shown.key("ArrowRight")  # the slider's own key: one step, not two
    assert heading(shown).startswith("Forward · 3 of 10")


def test_the_address_opens_a_step_and_keeps_it(browser, page):
    browser.open(page + "#step=7")
    assert heading(browser) == "Backward · 7 of 10: vjp of multiply_2"
    browser.key("ArrowRight")
    assert browser.run("location.hash") == "#step=8"
    browser.open(page + "#step=999")
    assert heading(browser).startswith("Backward · 10 of 10")
    browser.open(page + "#step=no")
    assert heading(browser).startswith("Forward · 0 of 10")


def test_the_picture_tells_what_has_happened(shown):
    shown.key("ArrowRight")
    shown.key("ArrowRight")
    assert nodes(shown, "now") == ["log"]
    assert nodes(shown, "ahead") == ["add", "multiply_2"]
    for _ in range(5):
        shown.key("ArrowRight")  # to the vjp of the second product
    assert nodes(shown, "now") == ["multiply_2"]
    assert nodes(shown, "waiting") == ["log", "multiply_1", "y"]
    assert nodes(shown, "done") == ["add"]
    assert shown.run('document.querySelectorAll("svg .edge.lit").length') == 2


def test_beside_it_stand_formula_shapes_and_values(browser, page):
    browser.open(page + "#step=7")
    panel = browser.run('document.getElementById("panel").innerText')
    assert re.sub(r"\s+", " ", panel).endswith(
        "g, all that came to the result () float64 1.0 to multiply_1 () float64 g * y 2.0 "
        "to y () float64 g * multiply_1 9.0"
    )


def node(browser, title):
    """A selector of the node that begins with that line."""
    index = browser.run(
        '[...document.querySelectorAll("svg .node")].findIndex('
        f'g => g.querySelector("text").textContent.replace("\\u00a0", " ") === {json.dumps(title)})'
    )
    browser.run(f'document.querySelectorAll("svg .node")[{index}].id = "wanted"')
    return "#wanted"


def tip(browser):
    return browser.run(
        'document.getElementById("tip").hidden ? null : document.getElementById("tip").innerText'
    )


def test_values_appear_under_the_pointer(shown):
    wanted = node(shown, "multiply_1")
    shown.hover(wanted)
    assert re.sub(r"\s+", " ", tip(shown)) == "multiply_1 () float64 not computed yet"
    shown.hover("h1")
    assert tip(shown) is None
    for _ in range(7):
        shown.key("ArrowRight")
    shown.hover(wanted)
    assert re.sub(r"\s+", " ", tip(shown)) == "multiply_1 () float64 9.0 cotangent: 2.0"
    shown.key("ArrowRight")  # the logarithm adds its share, 1/9
    shown.hover("h1")
    shown.hover(wanted)
    assert tip(shown).endswith("cotangent: 2.11111")


def test_values_appear_where_the_tab_key_leads(shown):
    for _ in range(12):
        shown.key("Tab")
        if tip(shown):
            break
    assert "float64" in tip(shown)
    assert shown.run("document.activeElement.getAttribute('aria-label')").count(",") >= 1
    shown.key("ArrowRight")
    assert heading(shown).startswith("Forward · 1 of 10")


def test_it_plays_by_itself_and_stops(shown):
    shown.run("const slow = setInterval; window.setInterval = (f, t) => slow(f, t / 20)")
    shown.key(" ")
    assert shown.run('document.getElementById("play").textContent') == "⏸ Pause"
    shown.until('document.querySelector(".phase").textContent.includes("10 of 10")')
    assert shown.run('document.getElementById("play").textContent') == "▶ Play"
    shown.click("#play")  # from the start again
    shown.until('/ [1-9] of 10/.test(document.querySelector(".phase").textContent)')
    shown.click("#play")
    before = heading(shown)
    shown.run("new Promise(done => setTimeout(done, 200))")
    assert heading(shown) == before


def luminance(color):
    channels = [int(c) / 255 for c in re.findall(r"\d+", color)[:3]]
    r, g, b = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("step", [3, 7])
def test_it_can_be_read_by_day_and_by_night(browser, page, dark, step):
    browser.dark(dark)
    browser.open(f"{page}#step={step}")
    page_color = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (luminance(page_color) < 0.1) == dark
    texts = browser.run(
        """[...document.querySelectorAll("svg .node:not(.ahead)")].map(g => [
            getComputedStyle(g.querySelector("text")).fill,
            getComputedStyle(g.querySelector("path, polygon, ellipse, rect")).fill])"""
    )
    assert len(texts) >= 4
    assert all(contrast(*pair) >= 4.5 for pair in texts)
    words = browser.run(
        """[".phase", "h2", "dt", "dt small", "pre", ".keys"].map(s => getComputedStyle(
            document.querySelector(s)).color)"""
    )
    card = browser.run('getComputedStyle(document.querySelector("aside")).backgroundColor')
    assert all(contrast(color, card) >= 4.5 for color in words)
    lines = browser.run(
        """[...document.querySelectorAll("svg .edge:not(.ahead) path")].map(
            p => getComputedStyle(p).stroke)"""
    )
    assert all(contrast(color, page_color) >= 3 for color in lines)


def test_a_whole_network_is_played_without_an_error(browser, tmp_path):
    browser.problems.clear()
    network = tg.Network(
        [tg.Conv2D(1, 2, 3, rng=0), tg.ReLU(), tg.MaxPool2D(2), tg.Flatten(), tg.Dense(8, 2, rng=0)]
    )
    loss = tg.mse(network(np.ones((3, 6, 6, 1), np.float32)), np.ones((3, 2), np.float32))
    browser.open(tg.player(loss, tmp_path / "walk.html").as_uri())
    for _ in range(len(walk_of(tmp_path / "walk.html")["frames"])):
        browser.key("ArrowRight")
    assert heading(browser).endswith("The gradients")
    assert browser.problems == []
