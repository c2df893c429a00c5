"""The recorded graph as DOT text, the language of Graphviz: a pure function of the graph."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tensorgrad.core import Tensor
from tensorgrad.graph.drawing.folding import Folding
from tensorgrad.graph.drawing.labels import constant_lines, count, leaf_lines, op_lines, size, value_line
from tensorgrad.graph.recorded import Group, leaf_kind

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


@dataclass
class _Arrow:
    carried: bool
    norms: list[float | None] = field(default_factory=list)
    influenced: bool = False


def dot_text(folding: Folding, overlay: Overlay, rankdir: str) -> str:
    """The DOT text of a graph."""
    return "\n".join(_Writer(folding, overlay).lines(rankdir)) + "\n"


class _Writer:
    def __init__(self, folding: Folding, overlay: Overlay) -> None:
        self.folding, self.overlay = folding, overlay
        self._clusters = 0
        self._sides: dict[str, list[str]] = {}
        self._free: set[tuple[str, str]] = set()  # arrows that do not decide where their ends stand

    def lines(self, rankdir: str) -> Iterator[str]:
        yield "digraph {"
        yield f'  graph [rankdir={rankdir} bgcolor="transparent" nodesep=0.3 ranksep=0.35 newrank=true'
        yield f'    fontsize=12 fontname="Helvetica,Arial,sans-serif" fontcolor="{INK}"]'
        yield '  node [fontname="Helvetica,Arial,sans-serif" fontsize=12 margin="0.12,0.06" height=0.4'
        yield f'    penwidth=1.3 fontcolor="{INK}"]'
        yield f'  edge [fontname="Helvetica,Arial,sans-serif" fontsize=10 color="{PAGE}" arrowsize=0.7]'
        yield from self._group(self.folding.graph, 0)
        yield from self._edges()
        yield "}"

    # Nodes

    def _group(self, group: Group, depth: int) -> Iterator[str]:
        indent = "  " * (depth + 1)
        for leaf in self.folding.leaves.get(id(group), ()):
            name = self.folding.ids[id(leaf)]
            lines = leaf_lines(leaf, self.folding.recorded.paths.get(id(leaf)))
            yield indent + self._node(name, leaf_kind(leaf), lines, leaf)
            user = self.folding.only_user(leaf, group)
            if user is not None:
                yield from (indent + line for line in self._beside(name, self.folding.ids[id(user)]))
        for part in group.parts:
            if isinstance(part, Tensor):
                name = self.folding.ids[id(part)]
                for position, _ in self.folding.constants(part):
                    yield indent + self._constant(f"{name}c{position}", part, position)
                yield indent + self._node(name, "op", op_lines(part), part)
            elif part in self.folding.boxes:
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
            self._free.add((leaf, op))
        before.append(leaf)

    def _node(self, name: str, kind: str, lines: list[str], x: Tensor) -> str:
        overlay = self.overlay
        lines = [overlay.titles.get(id(x), lines[0]), *lines[1:]]
        if overlay.values:
            lines = [*lines, f"= {value_line(x)}"]
        lines = [*lines, *overlay.notes.get(id(x), ())]
        style = [KINDS[kind]]
        if overlay.influenced is not None:
            style.append("penwidth=3" if id(x) in overlay.influenced else FADED)
        if id(x) in overlay.states:
            style.append(STATES[overlay.states[id(x)]])
        if x is self.folding.recorded.output:
            style.append("peripheries=2")
        return _statement(name, kind, lines, style)

    def _constant(self, name: str, node: Tensor, position: int) -> str:
        lines = constant_lines(node, position)
        if self.overlay.values and len(lines) > 1:
            lines = [*lines, f"= {value_line(node._inputs[position])}"]
        return _statement(name, "constant", lines, [KINDS["constant"], *self._fading({id(node)})])

    def _box(self, group: Group) -> str:
        """A folded cluster as one node."""
        tensors = list(group.tensors())
        note = [group.note] if group.note else []
        lines = [group.title, *note, *(size(x) for x in self.folding.results(group))]
        inside = count(len(tensors), "op")
        parameters = self.folding.parameters_in(group)
        if parameters:
            inside += f", {count(parameters, 'parameter')}"
        ids = {id(x) for x in tensors}
        style = [KINDS[group.kind], *self._fading(ids & (self.overlay.influenced or set()))]
        states = {self.overlay.states[i] for i in ids if i in self.overlay.states}
        for state in ("taken", "waiting", "done"):
            if state in states:
                style.append(STATES[state])
                break
        if id(self.folding.recorded.output) in ids:
            style.append("peripheries=2")
        return _statement(self.folding.ids[id(group)], group.kind, [*lines, inside], style)

    def _fading(self, ids: set[int]) -> list[str]:
        if self.overlay.influenced is None:
            return []
        return ["penwidth=3"] if ids & self.overlay.influenced else [FADED]

    # Edges

    def _edges(self) -> Iterator[str]:
        overlay = self.overlay
        merged: dict[tuple[str, str, int], _Arrow] = {}
        for edge in self.folding.edges():
            arrow = merged.setdefault((edge.source, edge.target, edge.place), _Arrow(edge.carried))
            if (id(edge.node), edge.position) in overlay.back:
                arrow.norms.append(overlay.back[id(edge.node), edge.position])
            if overlay.influenced is not None:
                arrow.influenced |= {id(edge.x), id(edge.node)} <= overlay.influenced
        for (source, target, _), arrow in merged.items():
            style = self._arrow_style(arrow, free=(source, target) in self._free)
            yield f"  {source} -> {target}" + (f" [{' '.join(style)}]" if style else "")

    def _arrow_style(self, arrow: _Arrow, free: bool) -> list[str]:
        style = []
        if arrow.carried:
            style.append('style=dashed color="#cc79a7" penwidth=1.6 tooltip="to the next round"')
        if arrow.carried or free:
            style.append("constraint=false")
        if self.overlay.influenced is not None:
            lit, dim = f'color="{BACKWARD}" penwidth=2.4', 'color="#a0a0a0" penwidth=0.8'
            style.append(lit if arrow.influenced else dim)
        if arrow.norms:
            style.append(f'dir=both color="{PAGE}:{BACKWARD}" arrowtail=vee class="tg-back"')
            numbers = [norm for norm in arrow.norms if norm is not None]
            if numbers:
                low, high = f"{min(numbers):.3g}", f"{max(numbers):.3g}"
                style.append(f"label={_tag(low if low == high else f'{low} … {high}')}")
        return style


def _statement(name: str, kind: str, lines: list[str], style: list[str]) -> str:
    first, *rest = map(_escaped, lines)
    label = f"<B>{first}</B>"
    if rest:
        label += "".join(f'<BR/><FONT POINT-SIZE="10">{line}</FONT>' for line in rest)
    if kind == "constant":
        label = f'<FONT POINT-SIZE="10">{"<BR/>".join([first, *rest])}</FONT>'
    return f'{name} [label=<{label}> {" ".join(style)} class="tg-{kind}"]'


def _cluster_label(group: Group) -> str:
    note = "" if group.kind == "repeat" else group.note
    label = f"<B>{_escaped(group.title)}</B>"
    if group.kind == "repeat":
        label += ' <FONT POINT-SIZE="10">the first is shown</FONT>'
    elif note:
        label += f' <FONT POINT-SIZE="10" COLOR="{FAINT}">{_escaped(note)}</FONT>'
    # Room on the right, for the arrow that comes in from above lies over the label.
    return f"<{label}{'&#160;' * 20}>"


def _tag(text: str) -> str:
    """A label on a white ground, for edges lie on the page, whatever its colour."""
    return (
        '<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1"><TR><TD BGCOLOR="white">'
        f'<FONT COLOR="#a34700">{_escaped(text)}</FONT></TD></TR></TABLE>>'
    )


def _escaped(text: str) -> str:
    """Text as it must stand in an HTML-like label; characters that XML has no place for are spelled out."""
    text = re.sub(r"[^\n\t -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f]", _spelled, text)
    for special, written in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ('"', "&quot;"),
        ("\\", "&#92;&#92;"),  # two, for in labels of this kind too \\N is the name of the node
        ("\t", "&#160; "),
        ("\n", "<BR/>"),
    ):
        text = text.replace(special, written)
    return text


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
