"""The recorded graph as DOT text, the language of Graphviz: a pure function of the graph."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.drawing.folding import Arrow, Folding
from tensorgrad.graph.drawing.labels import constant_lines, count, node_lines
from tensorgrad.graph.recorded import Group, op_name, results_in
from tensorgrad.graph.values import FEW, as_array, brief, norm, size

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
LETTER = 7  # points that a letter of a note takes at most, in the usual fonts
FADED = 'fillcolor=transparent color="#a0a0a0" fontcolor="#767676"'


@dataclass
class Overlay:
    """What is laid over the plain graph, by ids of tensors; edges are (id of the result, place of the input).

    ``titles`` stand for the names of ops, ``shapes`` for shapes and dtypes. ``influenced`` are the tensors to
    stand out from the others. ``gradients`` stand beside the values. ``states`` and ``notes`` tell of a walk
    back; in ``room`` for so many characters, whatever is written there. ``back`` are the edges along which a
    gradient flows, with what is shown of it.
    """

    values: bool = False
    titles: dict[int, str] = field(default_factory=dict)
    shapes: dict[int, str] = field(default_factory=dict)
    influenced: set[int] | None = None
    gradients: dict[int, NDArray] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    room: dict[int, int] = field(default_factory=dict)
    back: dict[tuple[int, int], NDArray | None] = field(default_factory=dict)

    def size(self, x: Any) -> str:
        """Shape and dtype."""
        return self.shapes.get(id(x)) or size(x)


def write_dot(folding: Folding, overlay: Overlay, rankdir: str) -> str:
    """The DOT text of a graph."""
    return "\n".join(_Writer(folding, overlay, rankdir).lines()) + "\n"


class _Writer:
    def __init__(self, folding: Folding, overlay: Overlay, rankdir: str) -> None:
        self.folding, self.overlay, self.rankdir = folding, overlay, rankdir
        self._clusters = 0
        self._sides: dict[str, list[str]] = {}  # the leaves beside an op, whose arrows do not place them

    def lines(self) -> Iterator[str]:
        yield "digraph {"
        yield f'  graph [rankdir={self.rankdir} bgcolor="transparent" nodesep=0.3 ranksep=0.35 newrank=true'
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
            yield indent + self._node(name, folding.recorded.kind_of(leaf), leaf, group)
            user = folding.find_only_user(leaf, group)
            if user is not None:
                yield from (indent + line for line in self._beside(name, folding.ids[id(user)]))
        for part in group.parts:
            if isinstance(part, Tensor):
                name = folding.ids[id(part)]
                for position, _ in folding.recorded.constants_in(part):
                    yield indent + self._constant(f"{name}c{position}", part, position)
                yield indent + self._node(name, "op", part, group)
            elif part in folding.boxes:
                yield indent + self._box(part)
            else:
                style = CLUSTERS[part.kind].format(TINTS[depth % 2])
                yield f"{indent}subgraph cluster{self._clusters} {{"
                yield f'{indent}  graph [{style} class="tg-{part.kind}"]'
                yield from (f"{indent}  {line}" for line in self._heading(part))
                self._clusters += 1
                yield from self._group(part, depth + 1)
                yield f"{indent}}}"

    def _heading(self, group: Group) -> Iterator[str]:
        """A cluster's title as a node left of its first, or above: arrows go round nodes, not labels."""
        title, first = f"title{self._clusters}", group.parts[0]
        upright = self.rankdir in ("TB", "BT")  # otherwise the last of a rank is at the top
        if isinstance(first, Group) and first not in self.folding.boxes:
            end = f"title{self._clusters + 1}"
        else:
            leaves = self.folding.leaves.get(id(group), ())
            beside = [leaf for leaf in leaves if self.folding.find_only_user(leaf, group) is first]
            beside = beside[:1] if upright else beside[1:2]
            end = self.folding.ids[id(beside[0] if beside else first)]
        yield f'{title} [label={_write_title(group)} shape=plaintext margin=0.05 height=0.2 class="tg-title"]'
        edge = f"{title} -> {end}" if upright else f"{end} -> {title}"
        yield f"{{ rank=same {title} {end} }} {edge} [style=invis]"

    def _beside(self, leaf: str, op: str) -> Iterator[str]:
        """The first leaf that only one op reads stands on its left, the second on its right."""
        before = self._sides.setdefault(op, [])
        if len(before) < 2:
            yield f"{{ rank=same {leaf} {op} }}"
        if len(before) == 1:
            yield f"{op} -> {leaf} [style=invis]"
        before.append(leaf)

    def _node(self, name: str, kind: str, x: Tensor, group: Group) -> str:
        overlay = self.overlay
        lines = node_lines(self.folding.recorded, x, overlay.size(x), overlay.titles.get(id(x)))
        if group.kind == "repeat" and x.op is not None:
            lines[0] = op_name(x)  # of all rounds
        pair: tuple[str, ...] = ()
        if id(x) in overlay.gradients:
            pair = f"data {brief(x)}", f"grad {brief(overlay.gradients[id(x)])}"
        elif overlay.values and brief(x):
            lines.append(_equal(x))
        style = [KINDS[kind], *self._fading({id(x)})]
        if id(x) in overlay.states:
            style.append(STATES[overlay.states[id(x)]])
        if x is self.folding.recorded.output:
            style.append("peripheries=2")
        room = overlay.room.get(id(x), 0)
        return _statement(name, kind, lines, style, pair, overlay.notes.get(id(x), ""), room)

    def _constant(self, name: str, node: Tensor, position: int) -> str:
        x = node.inputs[position]
        lines = constant_lines(self.folding.recorded, node, position, self.overlay.size(x))
        if self.overlay.values and len(lines) > 1 and brief(x):
            lines = [*lines, _equal(x)]
        return _statement(name, "constant", lines, [KINDS["constant"], *self._fading({id(node)})])

    def _box(self, group: Group) -> str:
        """A folded cluster as one node."""
        ids = {id(x) for x in results_in(group)}
        inside = count(len(ids), "op")
        parameters = self.folding.count_parameters(group)
        if parameters:
            inside += f", {count(parameters, 'parameter')}"
        lines = filter(
            None, [group.title, group.note, *map(self.overlay.size, self.folding.find_outputs(group)), inside]
        )
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
            ordered = sorted((g for g in back if g is not None), key=norm)
            if ordered:
                shown = dict.fromkeys(brief(g) for g in (ordered[0], ordered[-1]))
                style.append(f"label={_tag(' … '.join(shown))}")
        return f"  {arrow.source} -> {arrow.target}" + (f" [{' '.join(style)}]" if style else "")


def _statement(
    name: str,
    kind: str,
    lines: Iterable[str],
    style: list[str],
    pair: tuple[str, ...] = (),
    note: str = "",
    room: int = 0,
) -> str:
    """A node with its lines of text; under them two cells side by side, and a note with room for it."""
    first, *rest = map(_escape, lines)
    label = f"<B>{first}</B>" + "".join(f'<BR/><FONT POINT-SIZE="10">{line}</FONT>' for line in rest)
    if kind == "constant":
        label = f'<FONT POINT-SIZE="10">{"<BR/>".join([first, *rest])}</FONT>'
    if pair or room:
        rows = [f'<TR><TD COLSPAN="{max(len(pair), 1)}">{label}</TD></TR>']
        if pair:
            cells = "<VR/>".join(f'<TD><FONT POINT-SIZE="10">{_escape(x)}</FONT></TD>' for x in pair)
            rows.append(f"<HR/><TR>{cells}</TR>")
        if room:
            text = f'<FONT POINT-SIZE="10">{_escape(note) or "&#160;"}</FONT>'
            rows.append(f'<TR><TD WIDTH="{room * LETTER + 4}">{text}</TD></TR>')
        label = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="3">{"".join(rows)}</TABLE>'
    return f'{name} [label=<{label}> {" ".join(style)} class="tg-{kind}"]'


def _equal(x: Any) -> str:
    shown = brief(x)
    return shown if as_array(x).size > FEW else f"= {shown}"


def _write_title(group: Group) -> str:
    note = "the first is shown" if group.kind == "repeat" else group.note
    label = f"<B>{_escape(group.title)}</B>"
    if note:
        label += f'<BR/><FONT POINT-SIZE="10" COLOR="{FAINT}">{_escape(note)}</FONT>'
    return f"<{label}>"


def _tag(text: str) -> str:
    """A label on a white ground, for edges lie on the page, whatever its colour."""
    return (
        '<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="4" CELLPADDING="1"><TR><TD BGCOLOR="white">'
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
