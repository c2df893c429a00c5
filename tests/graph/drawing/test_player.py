"""player: what the file holds, and how it behaves in a real browser."""

import base64
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import tensorgrad as tg


def by_hand():
    """x = 3, y = 2: log(3 x) + 3 x y, with the walk add, multiply, log, multiply."""
    x = tg.Tensor(3.0, requires_grad=True, name="x")
    y = tg.Tensor(2.0, requires_grad=True, name="y")
    a = x * 3.0
    return np.log(a) + a * y


def walk_of(played):
    return json.loads(re.search(r'<script id="walk"[^>]*>(.*?)</script>', played.source, re.DOTALL)[1])


# The file


def test_the_frames_are_the_walk_forward_and_back():
    walk = walk_of(tg.player(by_hand()))
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
    assert [row["name"] for row in walk["frames"][1]["rows"]] == ["x", "multiply_1"]
    assert [row["name"] for row in walk["frames"][3]["rows"]] == ["multiply_1", "y", "multiply_2"]


def test_no_argument_of_an_op_is_taken_for_a_tensor_of_that_name():
    y = tg.Tensor(3.0, requires_grad=True, name="y")
    walk = walk_of(tg.player(1.0 + y * y))  # add calls its arguments x and y, too
    rows = [[(row["name"], row["value"]) for row in frame["rows"]] for frame in walk["frames"][1:3]]
    assert rows == [[("y", "3.0"), ("multiply", "9.0")], [("multiply", "9.0"), ("add", "10.0")]]


@pytest.mark.parametrize("graphviz", [True, False], ids=["dot", "without Graphviz"])
def test_a_result_with_a_name_shows_name_and_op(monkeypatch, graphviz):
    if not graphviz:
        monkeypatch.setenv("PATH", "")
        monkeypatch.setitem(sys.modules, "pygraphviz", None)
    y = tg.tanh(tg.Tensor(3.0, requires_grad=True, name="x"))
    y.name = "activity"
    words = re.findall(r"<text[^>]*>([^<]*)</text>", tg.player(y).source)
    assert words.count("activity") == words.count("tanh") == 1


def test_nothing_is_fetched_from_anywhere():
    text = tg.player(by_hand()).source
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not places
    assert not re.search(r"<(link|img|iframe)\b|\bsrc=|@import|url\((?!#)", text)


def test_a_file_is_written_only_where_one_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    played = tg.player(by_hand())
    assert list(tmp_path.iterdir()) == []
    assert played.render("one.html") == Path("one.html")
    assert tg.player(by_hand(), tmp_path / "two.html").source == played.source
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == [played.source] * 2


def test_grad_is_left_alone_and_a_cotangent_can_be_given():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    with pytest.raises(ValueError, match="not a scalar"):
        tg.player(x * 2.0)
    walk = walk_of(tg.player(x * 2.0, grad=[1.0, 10.0]))
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
    played = tg.player(x * 2.0, title=name)
    assert walk_of(played)["frames"][-1]["rows"][0]["name"] == name
    written = played.render(tmp_path / "walk.html").read_text(encoding="utf-8")
    assert written == played.source.replace("\ud800", "?")
    assert written.count("<script") == 2


class _Frames(HTMLParser):
    """The attributes of the elements in a page, by their tags."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


@pytest.mark.parametrize("name", NASTY)
def test_a_notebook_shows_the_page_in_a_frame_of_its_own(name):
    played = tg.player(tg.Tensor(1.0, requires_grad=True, name=name) * 2.0, title=name)
    (_, _), (tag, attributes) = _Frames(played._repr_html_()).tags
    assert tag == "iframe"
    assert attributes["srcdoc"] == played.source.replace("\ud800", "?")


def test_large_arrays_are_summarised():
    x = tg.Tensor(np.arange(10_000.0).reshape(100, 100), requires_grad=True, name="x")
    played = tg.player(x.mean())
    values = {node["title"]: node["value"] for node in walk_of(played)["nodes"].values()}
    assert values["x"] == "10,000 values from 0 to 9999, mean 5000, norm 5.773e+05"
    assert len(played.source) < 60_000


# Pictures


def images():
    """Two images with three channels, filters, and what a convolution and a pooling make of them."""
    rng = np.random.default_rng(0)
    x = tg.Tensor(rng.standard_normal((2, 40, 33, 3)), requires_grad=True, name="x")
    w = tg.Parameter(rng.standard_normal((20, 3, 3, 3)), name="w")
    maps = tg.conv2d(x, w)
    return x, w, maps, tg.max_pool(maps, size=2).mean()


def tiles_of(picture):
    tones = np.frombuffer(base64.b64decode(picture["pixels"]), np.int8)
    tones = tones.reshape(picture["count"], picture["height"], picture["width"])
    return tones * float(picture["top"]) / 127


def test_pictures_are_the_first_image_its_channels_and_the_filters():
    x, w, maps, loss = images()
    walk = walk_of(tg.player(loss))
    pictures = {node["title"]: node["picture"] for node in walk["nodes"].values()}
    painted = {name: walk["pictures"][i] for name, i in pictures.items() if i is not None}
    assert painted.keys() == {"x", "w", "conv2d", "max_pool"}
    expected = {  # every second pixel, for at most 32 are painted
        "x": x.data[0, ::2, ::2].transpose(2, 0, 1),
        "w": w.data[:16, 0],
        "conv2d": maps.data[0, ::2, ::2, :16].transpose(2, 0, 1),
        "max_pool": tg.max_pool(maps.data, size=2)[0, :, :, :16].transpose(2, 0, 1),
    }
    for name, tiles in expected.items():
        np.testing.assert_allclose(tiles_of(painted[name]), tiles, atol=np.abs(tiles).max() / 200)
    assert painted["w"]["note"] == "16 of 20 filters, the first of 3 channels"
    assert painted["conv2d"]["note"] == "the first of 2 images, 16 of 20 channels"
    (row,) = [row for row in walk["frames"][-1]["rows"] if row["name"] == "w"]
    loss.backward()
    gradient = w.grad[:16, 0]
    np.testing.assert_allclose(
        tiles_of(walk["pictures"][row["picture"]]), gradient, atol=np.abs(gradient).max() / 200
    )


def test_only_images_have_pictures():
    a = tg.Tensor(np.ones((2, 3, 5, 4)), requires_grad=True, name="a")  # such as heads of an attention
    walk = walk_of(tg.player((a @ np.ones((4, 2))).sum()))
    assert walk["pictures"] == []
    colour = np.random.default_rng(0).random((2, 6, 6, 3))
    x = tg.Tensor(colour, requires_grad=True, name="x")
    (picture,) = walk_of(tg.player((x * 1.0).sum()))["pictures"][:1]
    assert picture["colour"]
    np.testing.assert_allclose(tiles_of(picture), colour[0].transpose(2, 0, 1), atol=1 / 200)


def test_numbers_that_are_not_finite_are_marked():
    values = np.zeros((1, 4, 4, 1))
    values[0, 0, 0], values[0, 1, 1], values[0, 2, 2] = np.nan, np.inf, 3.0
    x = tg.Tensor(values, requires_grad=True, name="x")
    picture = walk_of(tg.player((x * 1.0).sum()))["pictures"][0]
    tones = np.frombuffer(base64.b64decode(picture["pixels"]), np.int8).reshape(4, 4)
    assert [tones[i, i] for i in range(4)] == [-128, -128, 127, 0]


# In the browser


@pytest.fixture(scope="module", params=["dot", "without Graphviz"])
def page(request, browser, tmp_path_factory):
    """The address of a file, with each of the two layouts."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "dot":
            shutil.which("dot") or pytest.skip("Graphviz's command dot is not installed")
        else:
            patch.setenv("PATH", "")
            patch.setitem(sys.modules, "pygraphviz", None)
        path = tg.player(by_hand()).render(tmp_path_factory.mktemp("player") / "walk.html")
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


def written(browser):
    """What stands in the nodes of up to four elements, by their first lines."""
    lines = browser.run(
        """[...document.querySelectorAll("svg .node")].map(g =>
            [g.querySelector("text"), ...g.querySelectorAll(".number")].map(t => t.textContent))"""
    )
    return {line[0].replace("\N{NO-BREAK SPACE}", " "): line[1:] for line in lines if len(line) > 1}


def test_values_and_cotangents_stand_in_small_nodes(shown):
    assert written(shown) == {
        "x": ["data 3.0", ""], "y": ["data 2.0", ""],
        "multiply_1": ["", ""], "log": ["", ""], "multiply_2": ["", ""], "add": ["", ""],
    }  # fmt: skip
    for _ in range(8):
        shown.key("ArrowRight")  # to the vjp of log, which adds 1/9 to the 2 of multiply_1
    found = written(shown)
    assert found["multiply_1"] == ["data 9.0", "grad 2.11111"]
    assert found["y"] == ["data 2.0", "grad 9.0"]
    assert found["x"] == ["data 3.0", ""]
    shown.key("Home")
    assert written(shown)["y"] == ["data 2.0", ""]
    fits = """[...document.querySelectorAll("svg .node")].every(g => {
        const box = g.querySelector("path, polygon, ellipse, rect").getBBox();
        return [...g.querySelectorAll(".number")].map(t => t.getBBox()).every(t =>
            t.x >= box.x && t.x + t.width <= box.x + box.width && t.y + t.height <= box.y + box.height)})"""
    shown.key("End")
    assert shown.run(fits)


@pytest.mark.parametrize("graphviz", [True, False], ids=["dot", "without Graphviz"])
@pytest.mark.parametrize(
    "name", ["a\n\nb", "\n", " ", "data 3.0", "data 3.0\ndata 3.0", "<b>&amp;</b>", "0000000000"]
)
def test_names_of_all_kinds_leave_values_where_they_are(browser, tmp_path, monkeypatch, name, graphviz):
    if not graphviz:
        monkeypatch.setenv("PATH", "")
        monkeypatch.setitem(sys.modules, "pygraphviz", None)
    browser.problems.clear()
    x = tg.Tensor(3.0, requires_grad=True, name=name)
    image = tg.Tensor(np.ones((1, 4, 4, 1)), requires_grad=True, name=name + " ")
    played = tg.player(x * image.sum())
    browser.open(played.render(tmp_path / "walk.html").as_uri() + "#step=99")
    shown = browser.run(
        """[...document.querySelectorAll("svg .node")].map(g => [...g.querySelectorAll(".number")].map(
            t => t.textContent)).filter(lines => lines.length)"""
    )
    assert sorted(shown) == [["data 16.0", "grad 3.0"], ["data 3.0", "grad 16.0"], ["data 48.0", "grad 1.0"]]
    assert browser.run('document.querySelectorAll("svg image").length') == 1
    words = browser.run(
        """[...document.querySelectorAll("svg .node")].find(g => g.querySelector("image")).textContent"""
    )
    assert "".join(words.split()) == "".join(name.split()) + "(1,4,4,1)float64"
    assert browser.problems == []


def test_pictures_stand_in_nodes_beside_values_and_in_the_tip(browser, tmp_path):
    browser.problems.clear()
    _, _, maps, loss = images()
    played = tg.player(loss)
    browser.open(played.render(tmp_path / "walk.html").as_uri() + "#step=1")
    inside = browser.run(
        """[...document.querySelectorAll("svg .node")].filter(g => g.querySelector("image")).map(
            g => g.querySelector("text").textContent)"""
    )
    assert sorted(inside) == ["conv2d", "max_pool", "w", "x"]
    assert browser.run('[...document.querySelectorAll("svg image")].every(i => i.getBBox().width > 40)')
    assert browser.run('document.querySelectorAll("#panel img").length') == 3  # x, w and out
    # The pixels of the last picture: the maps are orange above 0 and purple below.
    script = """(async () => {
        const image = [...document.querySelectorAll("#panel img")].at(-1);
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const pen = canvas.getContext("2d");
        pen.drawImage(image, 0, 0);
        return [canvas.width, canvas.height, [...pen.getImageData(0, 0, canvas.width, canvas.height).data]];
    })()"""
    width, height, pixels = browser.run(script)
    pixels = np.array(pixels).reshape(height, width, 4)
    tile = maps.data[0, ::2, ::2, 1]  # the second channel
    shown = pixels[: len(tile), tile.shape[1] + 1 : 2 * tile.shape[1] + 1]
    strong = np.abs(tile) > 0.1 * np.abs(tile).max()
    assert strong.sum() > 50
    red, blue = shown[..., 0], shown[..., 2]
    np.testing.assert_array_equal((red > blue)[strong], (tile > 0)[strong])
    assert (pixels[:, tile.shape[1], 3] == 0).all()  # a gap
    browser.hover(node(browser, "conv2d"))
    assert browser.run('document.querySelectorAll("#tip img").length') == 1
    assert "16 of 20 channels" in tip(browser)
    browser.key("End")
    browser.hover("h1")
    browser.hover(node(browser, "conv2d"))
    assert browser.run('document.querySelectorAll("#tip img").length') == 2  # its cotangent too
    assert browser.problems == []


def test_a_telephone_shows_picture_and_values_at_once(browser, page):
    browser.open(f"{page}#step=7", width=390, height=780)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    boxes = browser.run(
        """["header", "#picture", "aside", "h2"].map(s =>
            document.querySelector(s).getBoundingClientRect().toJSON())"""
    )
    assert all(0 <= box["left"] < box["right"] <= 390 for box in boxes)
    assert all(0 <= box["top"] < box["bottom"] <= 780 for box in boxes)
    assert boxes[0]["bottom"] <= boxes[1]["top"] < boxes[1]["bottom"] <= boxes[2]["top"] + 1
    assert boxes[1]["height"] > 250
    assert boxes[2]["height"] > 200
    width = browser.run('document.querySelector("#picture svg text").getBoundingClientRect().height')
    assert width > 8  # it can be read


def test_in_the_frame_of_a_notebook_it_plays(browser, tmp_path):
    browser.problems.clear()
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html>{tg.player(by_hand())._repr_html_()}", encoding="utf-8")
    browser.open(path.as_uri())
    frame = 'document.querySelector("iframe").contentDocument'
    browser.until(f'{frame}.querySelector("h2") !== null')
    browser.run(f'{frame}.getElementById("next").click()')
    assert browser.run(f'{frame}.querySelector("h2").textContent') == "multiply_1"
    assert browser.problems == []


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
    assert shown.run('document.getElementById("play").textContent') == "Pause"
    shown.until('document.querySelector(".phase").textContent.includes("10 of 10")')
    assert shown.run('document.getElementById("play").textContent') == "Play"
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
    numbers = browser.run(
        """[...document.querySelectorAll("svg .node:not(.ahead) .number")].map(t => [getComputedStyle(t).fill,
            getComputedStyle(t.parentNode.querySelector("path, polygon, ellipse, rect")).fill])"""
    )
    assert len(numbers) >= 8
    assert all(contrast(*pair) >= 4.5 for pair in numbers)
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
    played = tg.player(loss)
    browser.open(played.render(tmp_path / "walk.html").as_uri())
    for _ in walk_of(played)["frames"]:
        browser.key("ArrowRight")
    assert heading(browser).endswith("The gradients")
    assert browser.problems == []
