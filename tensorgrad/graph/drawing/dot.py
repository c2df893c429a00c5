"""The recorded graph as DOT text, the language of Graphviz: a pure function of the graph."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tensorgrad.core import Tensor
from tensorgrad.graph.drawing.folding import Arrow, Folding
from tensorgrad.graph.drawing.labels import constant_lines, count, leaf_lines, op_lines
from tensorgrad.graph.recorded import Group, constants_in, leaf_kind, results_in
from tensorgrad.graph.values import short, size

# The colours of Okabe and Ito, which colour-blind readers tell apart, as borders of light tints; for print,
# each kind has a shape of its own too. What lies on the page itself is a grey for white and for black pages.
INK, FAINT, PAGE, BACKWARD = "#1a1a1a", "#555555", "#767676", "#d55e00"
KINDS = {
    "op": 'shape=box style="rounded,filled" fillcolor="#dcedf8" color="#0072b2"',
    "parameter": 'margin="0.14,0.11" shape=cylinder style=filled fillcolor="#fdebc8" color="#b87a00"',
    "input": 'shape=ellipse style=filled fillcolor="#d5f0e6" color="#009e73"',
    "buffer": 'shape=note style=filled fillcolor="#f0f0f0" color="#555555"',
    "constant": 'shape=box style="filled,dashed" fillcolor="#f4f4f4" color="#8a8a8a" width=0.4 height=0.3',
    "layer": 'shape=folder style=filled fillcolor="#e4ebf2" color="#5b7083"',
    "vjp": 'shape=folder style=filled fillcolor="#fbe6d8" color="#d55e00"',
}
CLUSTERS = {
    "layer": 'style="rounded,filled" fillcolor="{}" color="#8fa1b3" penwidth=1',
    "vjp": 'style="rounded,filled" fillcolor="#fdf1e8" color="#d55e00" penwidth=1',
    "repeat": 'style="rounded,filled,dashed" fillcolor="{}" color="#cc79a7" penwidth=2',
}
TINTS = ("#f5f7fa", "#ebeff4")  # of nested clusters, in turn
STATES = {  # in the walk back: what an op is when it is taken, when it waits, and when it is done
    "taken": f'fillcolor="#ffd0a8" color="{BACKWARD}" penwidth=4',
    "waiting": f'color="{BACKWARD}" penwidth=2.5 style="rounded,filled,dashed"',
    "done": 'fillcolor="#d0d0d0" color="#777777"',
}
FADED = 'fillcolor=transparent color="#a0a0a0" fontcolor="#767676"'


@dataclass
class Overlay:
    """What is laid over the plain graph, by ids of tensors; edges are (id of the result, place of the input).

    ``titles`` stand for the names of ops. ``influenced`` are the tensors to stand out from the others.
    ``states`` and ``notes`` tell of a walk back. ``back`` are the edges along which a gradient flows, with
    its norm if that is shown.
    """

    values: bool = False
    titles: dict[int, str] = field(default_factory=dict)
    influenced: set[int] | None = None
    states: dict[int, str] = field(default_factory=dict)
    notes: dict[int, list[str]] = field(default_factory=dict)
    back: dict[tuple[int, int], float | None] = field(default_factory=dict)


def write_dot(folding: Folding, overlay: Overlay, rankdir: str) -> str:
    """The DOT text of a graph."""
    return "\n".join(_Writer(folding, overlay).lines(rankdir)) + "\n"


class _Writer:
    def __init__(self, folding: Folding, overlay: Overlay) -> None:
        self.folding, self.overlay = folding, overlay
        self._clusters = 0
        self._sides: dict[str, list[str]] = {}  # the leaves beside an op, whose arrows do not place them

    def lines(self, rankdir: str) -> Iterator[str]:
        yield "digraph {"
        yield f'  graph [rankdir={rankdir} bgcolor="transparent" nodesep=0.3 ranksep=0.35 newrank=true'
        yield f'    fontsize=12 fontname="Helvetica,Arial,sans-serif" fontcolor="{INK}"]'
        yield '  node [fontname="Helvetica,Arial,sans-serif" fontsize=12 margin="0.12,0.06" height=0.4'
        yield f'    penwidth=1.3 fontcolor="{INK}"]'
        yield f'  edge [fontname="Helvetica,Arial,sans-serif" fontsize=10 color="{PAGE}" arrowsize=0.7]'
        yield from self._group(self.folding.graph, 0)
        yield from map(self._arrow, self.folding.arrows())
        yield "}"

    # Nodes

    def _group(self, group: Group, depth: int) -> Iterator[str]:
        indent = "  " * (depth + 1)
        folding = self.folding
        for leaf in folding.leaves.get(id(group), ()):
            name = folding.ids[id(leaf)]
            yield indent + self._node(
                name, leaf_kind(leaf), leaf_lines(leaf, folding.recorded.paths.get(id(leaf))), leaf
            )
            user = folding.find_only_user(leaf, group)
            if user is not None:
                yield from (indent + line for line in self._beside(name, folding.ids[id(user)]))
        for part in group.parts:
            if isinstance(part, Tensor):
                name = folding.ids[id(part)]
                for position, _ in constants_in(part):
                    yield indent + self._constant(f"{name}c{position}", part, position)
                yield indent + self._node(name, "op", op_lines(part), part)
            elif part in folding.boxes:
                yield indent + self._box(part)
            else:
                style = CLUSTERS[part.kind].format(TINTS[depth % 2])
                yield f"{indent}subgraph cluster{self._clusters} {{"
                self._clusters += 1
                yield f"{indent}  graph [label={_cluster_label(part)} labeljust=l"
                yield f'{indent}    {style} class="tg-{part.kind}"]'
                yield from self._group(part, depth + 1)
                yield f"{indent}}}"

    def _beside(self, leaf: str, op: str) -> Iterator[str]:
        """The first leaf that only one op reads stands on its left, the second on its right."""
        before = self._sides.setdefault(op, [])
        if len(before) < 2:
            yield f"{{ rank=same {leaf} {op} }}"
        if len(before) == 1:
            yield f"{op} -> {leaf} [style=invis]"
        before.append(leaf)

    def _node(self, name: str, kind: str, lines: list[str], x: Tensor) -> str:
        overlay = self.overlay
        value = [f"= {short(x)}"] if overlay.values else []
        lines = [overlay.titles.get(id(x), lines[0]), *lines[1:], *value, *overlay.notes.get(id(x), ())]
        style = [KINDS[kind], *self._fading({id(x)})]
        if id(x) in overlay.states:
            style.append(STATES[overlay.states[id(x)]])
        if x is self.folding.recorded.output:
            style.append("peripheries=2")
        return _statement(name, kind, lines, style)

    def _constant(self, name: str, node: Tensor, position: int) -> str:
        lines = constant_lines(node, position)
        if self.overlay.values and len(lines) > 1:
            lines = [*lines, f"= {short(node.inputs[position])}"]
        return _statement(name, "constant", lines, [KINDS["constant"], *self._fading({id(node)})])

    def _box(self, group: Group) -> str:
        """A folded cluster as one node."""
        ids = {id(x) for x in results_in(group)}
        inside = count(len(ids), "op")
        parameters = self.folding.count_parameters(group)
        if parameters:
            inside += f", {count(parameters, 'parameter')}"
        lines = filter(None, [group.title, group.note, *map(size, self.folding.find_outputs(group)), inside])
        style = [KINDS[group.kind], *self._fading(ids)]
        states = {self.overlay.states.get(i) for i in ids}
        style += [STATES[state] for state in STATES if state in states][:1]  # the first says most
        if id(self.folding.recorded.output) in ids:
            style.append("peripheries=2")
        return _statement(self.folding.ids[id(group)], group.kind, lines, style)

    def _fading(self, ids: set[int]) -> list[str]:
        if self.overlay.influenced is None:
            return []
        return ["penwidth=3"] if ids & self.overlay.influenced else [FADED]

    # Edges

    def _arrow(self, arrow: Arrow) -> str:
        overlay = self.overlay
        style = []
        if arrow.carried:
            style.append('style=dashed color="#cc79a7" penwidth=1.6 tooltip="to the next round"')
        if arrow.carried or arrow.source in self._sides.get(arrow.target, ())[1:2]:
            style.append("constraint=false")
        if overlay.influenced is not None:
            lit, dim = f'color="{BACKWARD}" penwidth=2.4', 'color="#a0a0a0" penwidth=0.8'
            known = overlay.influenced
            style.append(lit if any({id(x), id(x.inputs[i])} <= known for x, i in arrow.uses) else dim)
        back = [overlay.back[id(x), i] for x, i in arrow.uses if (id(x), i) in overlay.back]
        if back:
            style.append(f'dir=both color="{PAGE}:{BACKWARD}" arrowtail=vee class="tg-back"')
            norms = [norm for norm in back if norm is not None]
            if norms:
                low, high = f"{min(norms):.3g}", f"{max(norms):.3g}"
                style.append(f"label={_tag(low if low == high else f'{low} … {high}')}")
        return f"  {arrow.source} -> {arrow.target}" + (f" [{' '.join(style)}]" if style else "")


def _statement(name: str, kind: str, lines: Iterable[str], style: list[str]) -> str:
    first, *rest = map(_escape, lines)
    label = f"<B>{first}</B>" + "".join(f'<BR/><FONT POINT-SIZE="10">{line}</FONT>' for line in rest)
    if kind == "constant":
        label = f'<FONT POINT-SIZE="10">{"<BR/>".join([first, *rest])}</FONT>'
    return f'{name} [label=<{label}> {" ".join(style)} class="tg-{kind}"]'


def _cluster_label(group: Group) -> str:
    label = f"<B>{_escape(group.title)}</B>"
    if group.kind == "repeat":
        label += ' <FONT POINT-SIZE="10">the first is shown</FONT>'
    elif group.note:
        label += f' <FONT POINT-SIZE="10" COLOR="{FAINT}">{_escape(group.note)}</FONT>'
    # Room on the right, for the arrow that comes in from above lies over the label.
    return f"<{label}{'&#160;' * 20}>"


def _tag(text: str) -> str:
    """A label on a white ground, for edges lie on the page, whatever its colour."""
    return (
        '<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1"><TR><TD BGCOLOR="white">'
        f'<FONT COLOR="#a34700">{_escape(text)}</FONT></TD></TR></TABLE>>'
    )


def _escape(text: str) -> str:
    """Text as it must stand in an HTML-like label; characters that XML has no place for are spelled out."""
    text = re.sub(
        r"[^\n\t -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f]",
        lambda found: found[0].encode("unicode_escape").decode("ascii"),
        text,
    )
    # Two of \, for in labels of this kind too \\N is the name of the node.
    text = html.escape(text, quote=False).replace('"', "&quot;").replace("\\", "&#92;&#92;")
    return text.replace("\t", "&#160; ").replace("\n", "<BR/>")
