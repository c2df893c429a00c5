"""How the text of a program is laid out on the page."""

from __future__ import annotations

import re

WIDTH = 92  # of a line of code, without its comment


def wrapped(line: str) -> list[str]:
    """A line that is too long, broken inside the call or the list at its end."""
    found = re.match(r"(\s*)(.*)", line)
    assert found is not None
    indent, text = found.groups()
    start = _opening(text)
    if len(line) <= WIDTH or start is None:
        return [line]
    rows: list[str] = []
    for part in _parts(text[start + 1 : -1]):
        if rows and len(indent) + 4 + len(rows[-1]) + len(part) + 2 < WIDTH and "\n" not in part:
            rows[-1] += f" {part},"
        else:
            rows.append(f"{part},")
    inner: list[str] = []
    for row in rows:
        *before, last = wrapped(f"{indent}    {row[:-1]}")
        inner += [*before, f"{last},"]
    return [f"{indent}{text[: start + 1]}", *inner, f"{indent}{text[-1]}"]


def _opening(text: str) -> int | None:
    """Where the call or list that ends a text opens; None if it ends with something else."""
    depth = 0
    for i in range(len(text) - 1, -1, -1):
        depth += (text[i] in ")]}") - (text[i] in "([{")
        if not depth:
            call = text[i] == "(" and i and (text[i - 1].isalnum() or text[i - 1] == "_")
            return i if text[-1] in ")]" and (call or (text[i] == "[" and not i)) else None
    return None


def _parts(text: str) -> list[str]:
    """What stands between the commas of a text that are in no brackets."""
    parts, start, depth = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts
