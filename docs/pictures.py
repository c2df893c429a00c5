"""The two pictures of the README, made by its own code: `python docs/pictures.py` writes them to docs/."""

import re
from pathlib import Path

DOCS = Path(__file__).parent


def namespace_of_the_readme() -> dict[str, object]:
    """What the README's Python blocks leave behind."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    namespace: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(block, namespace)
    return namespace


def write(folder: Path) -> None:
    import matplotlib

    made = namespace_of_the_readme()
    made["drawing"].render(folder / "graph.svg")
    # No date and no random names, so that the same curve is the same file.
    with matplotlib.rc_context({"svg.hashsalt": "tensorgrad", "svg.fonttype": "none"}):
        made["figure"].savefig(folder / "learning-curve.svg", metadata={"Date": None})


if __name__ == "__main__":
    write(DOCS)
