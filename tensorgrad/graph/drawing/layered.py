"""A plain layout without Graphviz: each node in the row under what it was made of."""

from __future__ import annotations

import html

from tensorgrad.core import Tensor
from tensorgrad.graph.drawing.folding import Folding
from tensorgrad.graph.drawing.labels import constant_lines, leaf_lines, op_lines
from tensorgrad.graph.recorded import leaf_kind

LETTER, LINE, MARGIN, GAP = 7.0, 15, 8, 44  # pixels
SVG = "http://www.w3.org/2000/svg"


def layered_svg(folding: Folding, titles: dict[int, str]) -> str:
    """The nodes in rows with arrows between them, with the names and classes that Graphviz would give.

    ``titles`` are the first lines of the nodes, by the ids of their tensors.
    """
    lines, kinds, edges = _contents(folding, titles)
    rows = _rows(lines, edges)
    width = {name: max(len(line) for line in text) * LETTER + 2 * MARGIN for name, text in lines.items()}
    height = {name: len(text) * LINE + 2 * MARGIN for name, text in lines.items()}
    total = max(sum(width[name] + MARGIN * 2 for name in row) for row in rows)
    place: dict[str, tuple[float, float]] = {}  # of the centres
    top = float(MARGIN)
    for row in rows:
        deep = max(height[name] for name in row)
        left = (total - sum(width[name] + MARGIN * 2 for name in row)) / 2
        for name in row:
            place[name] = (left + MARGIN + width[name] / 2, top + deep / 2)
            left += width[name] + MARGIN * 2
        top += deep + GAP
    bottom = top - GAP + MARGIN
    parts = [
        f'<svg xmlns="{SVG}" width="{total:.0f}" height="{bottom:.0f}" '
        f'viewBox="0 0 {total:.0f} {bottom:.0f}" font-family="Helvetica,Arial,sans-serif" font-size="12">',
        '<g class="graph"><title>laid out without Graphviz</title>',
    ]
    for source, target in edges:
        (x0, y0), (x1, y1) = place[source], place[target]
        y0, y1 = y0 + height[source] / 2, y1 - height[target] / 2
        middle = (y0 + y1) / 2
        parts.append(
            f'<g class="edge"><title>{source}-&gt;{target}</title>'
            f'<path fill="none" stroke="#767676" d="M{x0:.1f},{y0:.1f}C{x0:.1f},{middle:.1f} '
            f'{x1:.1f},{middle:.1f} {x1:.1f},{y1 - 7:.1f}"/><polygon fill="#767676" stroke="#767676" '
            f'points="{x1 - 3.5:.1f},{y1 - 7:.1f} {x1 + 3.5:.1f},{y1 - 7:.1f} {x1:.1f},{y1:.1f}"/></g>'
        )
    for name, text in lines.items():
        x, y = place[name]
        wide, high, round_ = width[name], height[name], 8 if kinds[name] == "op" else 0
        words = "".join(
            f'<text text-anchor="middle" x="{x:.1f}" y="{y - high / 2 + MARGIN + 12 + i * LINE:.1f}" '
            f'font-weight="{"normal" if i else "bold"}">{html.escape(line)}</text>'
            for i, line in enumerate(text)
        )
        parts.append(
            f'<g class="node tg-{kinds[name]}"><title>{name}</title><rect x="{x - wide / 2:.1f}" '
            f'y="{y - high / 2:.1f}" width="{wide:.1f}" height="{high}" rx="{round_}" '
            f'fill="#f4f4f4" stroke="#767676"/>{words}</g>'
        )
    return "\n".join([*parts, "</g></svg>"])


def _contents(
    folding: Folding, titles: dict[int, str]
) -> tuple[dict[str, list[str]], dict[str, str], list[tuple[str, str]]]:
    """The lines and the kind of every node, and the edges, by name; what is used comes before its users."""
    lines: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    edges = []
    for node in folding.recorded.nodes:
        name = folding.ids[id(node)]
        for i, _ in folding.constants(node):
            lines[f"{name}c{i}"], kinds[f"{name}c{i}"] = constant_lines(node, i), "constant"
        own = op_lines(node) if node._op else leaf_lines(node)
        lines[name] = [titles[id(node)], *own[1:]]
        kinds[name] = "op" if node._op else leaf_kind(node)
        for i, x in enumerate(node._inputs):
            if x is not None:
                edges.append((folding.ids[id(x)] if isinstance(x, Tensor) else f"{name}c{i}", name))
    split = {name: [line for text in texts for line in text.split("\n")] for name, texts in lines.items()}
    return split, kinds, edges


def _rows(lines: dict[str, list[str]], edges: list[tuple[str, str]]) -> list[list[str]]:
    """The names in rows: results under all they are made of, leaves just above their first user."""
    row = dict.fromkeys(lines, 0)
    users: dict[str, list[str]] = {}
    made = {target for _, target in edges}
    for source, target in edges:  # in the order of computation
        row[target] = max(row[target], row[source] + 1)
        users.setdefault(source, []).append(target)
    for name in lines:
        if name not in made and name in users:
            row[name] = min(row[user] for user in users[name]) - 1
    first = min(row.values())
    rows: list[list[str]] = [[] for _ in range(max(row.values()) - first + 1)]
    for name in lines:
        rows[row[name] - first].append(name)
    # Each row in the order of what it is made of, so that fewer arrows cross.
    sources: dict[str, list[str]] = {}
    for source, target in edges:
        sources.setdefault(target, []).append(source)
    column: dict[str, float] = {}
    for names in rows:
        means = {
            name: sum(column.get(x, 0.0) for x in sources.get(name, ())) / len(sources.get(name, "?"))
            for name in names
        }
        names.sort(key=lambda name: means[name])
        column |= {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
    return [names for names in rows if names]
