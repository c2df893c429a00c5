"""What a notebook shows as `print` does."""

from __future__ import annotations

from typing import Any

__all__ = ["Printed", "Text"]


class Printed:
    """Base of what a notebook shows as it is printed, with lines that are not broken."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        text = str(self)
        escaped = text.replace("&", "&amp;").replace("<", "&lt;")
        return {
            "text/plain": text,
            "text/html": f'<pre style="white-space: pre; overflow-x: auto">{escaped}</pre>',
        }


class Text(Printed, str):
    """A string of several lines, such as a table, which an interpreter shows as it is printed too."""

    def __repr__(self) -> str:
        return str(self)
