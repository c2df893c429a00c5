"""A small reader of DOT, by its grammar as far as drawings use it; it knows nothing of their writing."""

import html
import re
from dataclasses import dataclass, field

TOKEN = re.compile(r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[\w.]+)|(?P<mark>->|[{}\[\]=]))', re.DOTALL)


@dataclass
class Node:
    label: str
    kind: str
    attributes: dict
    within: tuple  # the labels of the clusters around it, from the outside in

    @property
    def lines(self):
        return self.label.split("\n")


@dataclass
class Graph:
    attributes: dict = field(default_factory=dict)
    nodes: dict = field(default_factory=dict)
    edges: list = field(default_factory=list)  # (from, to, attributes), without those that are not seen
    clusters: list = field(default_factory=list)  # the paths of labels

    @property
    def pairs(self):
        return [(self.nodes[a].lines[0], self.nodes[b].lines[0]) for a, b, _ in self.edges]

    def named(self, first_line):
        (node,) = [node for node in self.nodes.values() if node.lines[0] == first_line]
        return node

    def kinds(self):
        return {node.lines[0]: node.kind for node in self.nodes.values()}


def tokens(text):
    position, text = 0, text.rstrip()
    while position < len(text):
        start = re.compile(r"\s*").match(text, position).end()
        if text[start] == "<":
            depth, end = 1, start + 1
            while depth:
                depth += {"<": 1, ">": -1}.get(text[end], 0)
                end += 1
            yield text[start:end]
            position = end
            continue
        token = TOKEN.match(text, position)
        assert token, f"no DOT from here: {text[position : position + 40]!r}"
        position = token.end()
        yield token[token.lastgroup]


def shown(label):
    """What a label between < and > shows: its text, without tags."""
    text = re.sub(r"<BR/>|</TR><(HR/><)?TR>", "\n", label[1:-1]).replace("<VR/>", " | ")
    text = html.unescape(re.sub(r"<[^>]*>", "", text))
    text = text.replace(2 * "\\", "\\")  # one alone would begin an escape such as \N, the node's name
    return text.replace("\N{NO-BREAK SPACE}", " ").rstrip(" ")


def read(text):
    words = list(tokens(text))
    assert words[:2] == ["digraph", "{"]
    graph = Graph()
    end = _block(words, 2, graph, ())
    assert end == len(words), "something after the graph"
    assert {end for edge in graph.edges for end in edge[:2]} <= graph.nodes.keys()
    return graph


def _attributes(words, i):
    """The attributes in [ ] at i, and the place after them."""
    found = {}
    if i < len(words) and words[i] == "[":
        i += 1
        while words[i] != "]":
            assert words[i + 1] == "="
            found[words[i]] = words[i + 2].strip('"')
            i += 3
        i += 1
    return found, i


def _block(words, i, graph, within):
    while words[i] != "}":
        word = words[i]
        if word == "subgraph":
            assert re.fullmatch(r"cluster\d+", words[i + 1])
            i = _block(words, i + 3, graph, (*within, ""))
        elif word == "{":  # a rank
            i = words.index("}", i) + 1
        elif word in ("graph", "node", "edge"):
            attributes, i = _attributes(words, i + 1)
            if word == "graph" and not within:
                graph.attributes = attributes
        elif words[i + 1] == "->":
            a, b = word, words[i + 2]
            attributes, i = _attributes(words, i + 3)
            if attributes.get("style") != "invis":
                graph.edges.append((a, b, attributes))
        else:
            assert word not in graph.nodes, "a node came twice"
            attributes, i = _attributes(words, i + 1)
            if attributes["class"] == "tg-title":  # the first in its cluster
                within = (*within[:-1], shown(attributes["label"]).replace("\n", " "))
                graph.clusters.append(within)
                continue
            kind = attributes["class"].removeprefix("tg-")
            graph.nodes[word] = Node(shown(attributes["label"]), kind, attributes, within)
    return i + 1
