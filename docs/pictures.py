"""Pictures of the README and the pages, made by their own code: `python docs/pictures.py` writes them."""

import contextlib
import io
import linecache
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).parent
README, CONVOLUTION = DOCS.parent / "README.md", DOCS / "tutorial" / "convolution-by-hand.md"
GALLERY = DOCS / "gallery.md"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Pictures of numbers in squares: dark on a card of their own, so that they read on light and dark pages.
CARD, INK, LINE = "#f7f5f0", "#1f2328", "#8b949e"
ORANGE, BLUE, GREEN, PURPLE = "#f6b26b", "#9fc5e8", "#b6d7a8", "#d5b8e8"
SIDE = 34  # of a square
Colours = dict[tuple[int, int], str]  # by row and column
Grid = tuple[str, np.ndarray, Colours]  # a title, and numbers of which some have a colour


def namespace_of(page: Path) -> dict[str, object]:
    """What the Python blocks of a page leave behind, but for files."""
    namespace: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in blocks:
            exec(block, namespace)
    return namespace


def write(folder: Path) -> None:
    write_the_readmes(folder)
    write_convolution(folder)
    made, texts = run_the_gallery()
    write_the_gallery(folder / "gallery", made)
    GALLERY.write_text(with_texts(GALLERY.read_text(encoding="utf-8"), texts), encoding="utf-8")


def write_the_readmes(folder: Path) -> None:
    made = namespace_of(README)
    render(made["drawing"], folder / "graph.svg")
    save_curve(made["figure"], folder / "learning-curve.svg")


def render(drawing: Any, path: Path) -> None:
    """Write a drawing of a graph, on a card of its own."""
    source = drawing.source.replace('bgcolor="transparent"', f'bgcolor="{CARD}" pad=0.2')
    type(drawing)(source).render(path)


def save_curve(figure: Any, path: Path) -> None:
    """As SVG with no date and no random names, so that the same curve is the same file."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "tensorgrad", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def run_the_gallery() -> tuple[dict[str, Any], list[str]]:
    """What the blocks of the gallery leave behind, and what each prints before a block of text.

    An error that names a line calls the page gallery.py.
    """
    page = GALLERY.read_text(encoding="utf-8")
    made: dict[str, Any] = {"__name__": "__main__"}
    texts = []
    linecache.cache["gallery.py"] = (len(page), None, page.splitlines(keepends=True), "gallery.py")
    for found in re.finditer(r"^```python\n(.*?)^```\n(\n```text)?", page, re.MULTILINE | re.DOTALL):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile("\n" * page.count("\n", 0, found.start(1)) + found[1], "gallery.py", "exec"), made)
        if found[2]:
            texts.append(printed.getvalue().rstrip() + "\n")
    return made, texts


def with_texts(page: str, texts: list[str]) -> str:
    """The gallery with what its blocks print."""
    left = iter(texts)
    block = re.compile("^```text\n.*?^```", re.MULTILINE | re.DOTALL)
    return block.sub(lambda _: f"```text\n{next(left)}```", page)


def write_the_gallery(folder: Path, made: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    render(made["graph"], folder / "graph.svg")
    render(made["gradient"], folder / "gradient.svg")
    save_curve(made["curve"], folder / "curve.svg")
    for name in ("learned", "mistakes"):
        made[name].savefig(folder / f"{name}.png", dpi=100)
    if BROWSER:
        photograph(made["player"], folder / "player.png", "step=9", (1100, 760))
        for name, place in (("playground", "spirals&steps=1000"), ("digits", "digits&steps=300")):
            photograph(without_worker(made["playground"]), folder / f"{name}.png", place, (1280, 880))


def without_worker(playground: Any) -> Any:
    """The page as it is where no worker can be made: then the browser knows when it is done."""
    source = playground.source.replace("<script ", "<script>delete globalThis.Worker</script><script ", 1)
    return type(playground)(source)


def photograph(player: Any, path: Path, place: str, size: tuple[int, int]) -> None:
    """A page at some place, as a browser without a window shows it."""
    with tempfile.TemporaryDirectory() as folder:
        page = player.render(Path(folder) / "player.html")
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={folder}/profile", "--window-size={},{}".format(*size)]
        command += [
            "--run-all-compositor-stages-before-draw",
            "--virtual-time-budget=5000",
            f"--screenshot={path}",
            f"{page.as_uri()}#{place}",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def write_convolution(folder: Path) -> None:
    """The four pictures of the page that derives the backward pass by hand."""
    made = namespace_of(CONVOLUTION)
    image, filter, g = made["image"], made["filter"], made["g"]
    window = dict.fromkeys(squares(0, 1, 3), ORANGE)  # of y01
    corners = [(i, j) for i in range(2) for j in range(2)]
    colours = dict(zip(corners, (ORANGE, BLUE, GREEN, PURPLE), strict=True))

    forward = [
        ("image x", image, window), "∗", ("filter w", filter, {}), "=",
        ("result y", made["result"], {(0, 1): ORANGE}),
    ]  # fmt: skip
    to_filter = [
        ("image x", image, dict.fromkeys(squares(0, 1, 2), ORANGE)), "∗",
        ("cotangent g", g, dict.fromkeys(corners, BLUE)), "=", ("∂L/∂w", made["d_filter"], {(0, 1): ORANGE}),
    ]  # fmt: skip
    to_image: list[str | Grid] = []
    for (i, j), colour in colours.items():
        copy = np.full_like(image, np.nan)
        copy[i : i + 3, j : j + 3] = g[i, j] * filter
        to_image += [(f"{write_number(g[i, j])} · w", copy, dict.fromkeys(squares(i, j, 3), colour)), "+"]
    to_image[-1] = "="
    to_image.append(("∂L/∂x", made["d_image"], {}))
    tiles = {at: colour for (i, j), colour in colours.items() for at in squares(2 * i, 2 * j, 2)}
    largest = {at: tiles[at] for at in tiles if made["d_max"][at]}
    pooling = [
        ("image x", image, tiles), ("cotangent g", g, colours), "→", ("∂L/∂x, max", made["d_max"], largest),
        "or", ("∂L/∂x, average", made["d_average"], tiles),
    ]  # fmt: skip
    for name, parts in {
        "convolution-forward": forward, "convolution-filter": to_filter, "convolution-image": to_image,
        "pooling-backward": pooling,
    }.items():  # fmt: skip
        (folder / f"{name}.svg").write_text(draw_row(parts), encoding="utf-8")


def squares(row: int, column: int, size: int) -> list[tuple[int, int]]:
    return [(row + i, column + j) for i in range(size) for j in range(size)]


def draw_row(parts: Iterable[str | Grid]) -> str:
    """Grids of numbers beside each other, with signs between, as SVG."""
    parts = list(parts)
    drawn, x, beside = [], 20, False
    height = SIDE * max(len(part[1]) for part in parts if not isinstance(part, str))
    for part in parts:
        if isinstance(part, str):
            drawn.append(text(x + 18, 40 + height / 2, part, 20))
            x, beside = x + 36, False
            continue
        x += 36 if beside else 0
        top = 40 + (height - SIDE * len(part[1])) / 2
        drawn += draw_grid(x, top, *part)
        x, beside = x + SIDE * part[1].shape[1], True
    width, height = x + 20, height + 60
    size = f'width="{width}" height="{height}"'
    look = f'font-family="sans-serif" text-anchor="middle" fill="{INK}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size} {look}>',
            f'<rect {size} rx="8" fill="{CARD}"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def draw_grid(x: float, top: float, title: str, numbers: np.ndarray, colours: Colours) -> list[str]:
    """Numbers in squares, some of them coloured, with a title over them; a square of NaN is empty."""
    drawn = [text(x + SIDE * numbers.shape[1] / 2, top - 14, title, 14)]
    for (i, j), number in np.ndenumerate(numbers):
        corner = f'x="{x + SIDE * j:g}" y="{top + SIDE * i:g}" width="{SIDE}" height="{SIDE}"'
        drawn.append(f'<rect {corner} fill="{colours.get((i, j), "none")}" stroke="{LINE}"/>')
        if not np.isnan(number):
            label = write_number(number)
            size = 14 if len(label) < 4 else 11 if len(label) < 5 else 10
            drawn.append(text(x + SIDE * (j + 0.5), top + SIDE * (i + 0.5), label, size))
    return drawn


def write_number(number: float) -> str:
    return f"{number + 0.0:g}".replace("-", "−")  # + 0.0 makes 0 of -0


def text(x: float, y: float, words: str, size: int) -> str:
    return f'<text x="{x:g}" y="{y:g}" dy="0.35em" font-size="{size}">{words}</text>'


if __name__ == "__main__":
    write(DOCS)
