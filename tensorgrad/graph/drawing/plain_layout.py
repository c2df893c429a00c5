"""A plain layout without Graphviz: each node in the row under what it was made of."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from tensorgrad.graph.drawing.folding import Folding
from tensorgrad.graph.drawing.labels import constant_lines, node_lines
from tensorgrad.graph.values import size

LETTER, LINE, MARGIN, GAP = 7.0, 15, 8, 44  # pixels
SVG = "http://www.w3.org/2000/svg"


@dataclass
class _Box:
    """A node: its kind, its lines of text, and the place of its centre."""

    kind: str
    lines: list[str]
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return max(map(len, self.lines)) * LETTER + 2 * MARGIN

    @property
    def height(self) -> int:
        return len(self.lines) * LINE + 2 * MARGIN


def write_svg(folding: Folding, titles: Mapping[int, str]) -> str:
    """The nodes in rows with arrows between them, with the names and classes that Graphviz would give."""
    boxes, edges = _read(folding, titles)
    rows = [[boxes[name] for name in row] for row in _make_rows(list(boxes), edges)]
    total = max(sum(box.width + MARGIN * 2 for box in row) for row in rows)
    top = float(MARGIN)
    for row in rows:
        deep = max(box.height for box in row)
        left = (total - sum(box.width + MARGIN * 2 for box in row)) / 2
        for box in row:
            box.x, box.y = left + MARGIN + box.width / 2, top + deep / 2
            left += box.width + MARGIN * 2
        top += deep + GAP
    bottom = top - GAP + MARGIN
    parts = [
        f'<svg xmlns="{SVG}" width="{total:.0f}" height="{bottom:.0f}" '
        f'viewBox="0 0 {total:.0f} {bottom:.0f}" font-family="Helvetica,Arial,sans-serif" font-size="12">',
        '<g class="graph"><title>laid out without Graphviz</title>',
    ]
    parts += [_write_edge(source, target, boxes) for source, target in edges]
    parts += [_write_box(name, box) for name, box in boxes.items()]
    return "\n".join([*parts, "</g></svg>"])


def _write_edge(source: str, target: str, boxes: dict[str, _Box]) -> str:
    start, end = boxes[source], boxes[target]
    x0, y0, x1, y1 = start.x, start.y + start.height / 2, end.x, end.y - end.height / 2
    middle = (y0 + y1) / 2
    return (
        f'<g class="edge"><title>{source}-&gt;{target}</title>'
        f'<path fill="none" stroke="#767676" d="M{x0:.1f},{y0:.1f}C{x0:.1f},{middle:.1f} '
        f'{x1:.1f},{middle:.1f} {x1:.1f},{y1 - 7:.1f}"/><polygon fill="#767676" stroke="#767676" '
        f'points="{x1 - 3.5:.1f},{y1 - 7:.1f} {x1 + 3.5:.1f},{y1 - 7:.1f} {x1:.1f},{y1:.1f}"/></g>'
    )


def _write_box(name: str, box: _Box) -> str:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    words = "".join(
        f'<text text-anchor="middle" x="{box.x:.1f}" y="{top + MARGIN + 12 + i * LINE:.1f}" '
        f'font-weight="{"normal" if i else "bold"}">{html.escape(line)}</text>'
        for i, line in enumerate(box.lines)
    )
    return (
        f'<g class="node tg-{box.kind}"><title>{name}</title><rect x="{left:.1f}" '
        f'y="{top:.1f}" width="{box.width:.1f}" height="{box.height}" rx="{8 if box.kind == "op" else 0}" '
        f'fill="#f4f4f4" stroke="#767676"/>{words}</g>'
    )


def _read(folding: Folding, titles: Mapping[int, str]) -> tuple[dict[str, _Box], list[tuple[str, str]]]:
    """The nodes by their ids, what is used before its users, and the edges between them."""
    boxes: dict[str, _Box] = {}
    edges = []
    graph = folding.recorded
    for node in graph.nodes:
        name = folding.ids[id(node)]
        for i, _ in graph.constants_in(node):
            boxes[f"{name}c{i}"] = _Box("constant", constant_lines(graph, node, i))
        words = "\n".join(node_lines(graph, node, size(node), titles[id(node)])).split("\n")
        boxes[name] = _Box("op" if node.op else graph.kind_of(node), words)
        edges += [ends[:2] for i in range(len(node.inputs)) if (ends := folding.ends(node, i))]
    return boxes, edges


def _make_rows(names: list[str], edges: list[tuple[str, str]]) -> list[list[str]]:
    """The names in rows: results under all they are made of, leaves just above their first user."""
    row = dict.fromkeys(names, 0)
    users: dict[str, list[str]] = {name: [] for name in names}
    sources: dict[str, list[str]] = {name: [] for name in names}
    for source, target in edges:  # in the order of computation
        row[target] = max(row[target], row[source] + 1)
        users[source].append(target)
        sources[target].append(source)
    for name in names:
        if users[name] and not sources[name]:
            row[name] = min(row[user] for user in users[name]) - 1
    levels = range(min(row.values()), max(row.values()) + 1)
    rows = [[name for name in names if row[name] == level] for level in levels]
    # Each row in the order of what it is made of, so that fewer arrows cross.
    column: dict[str, float] = {}

    def average(name: str) -> float:
        return sum(column.get(x, 0.0) for x in sources[name]) / max(len(sources[name]), 1)

    for level in rows:
        level.sort(key=average)
        column |= {name: (i + 0.5) / len(level) for i, name in enumerate(level)}
    return [level for level in rows if level]
