"""The code blocks of README, CONTRIBUTING and docs run as they stand, each page in one fresh namespace."""

import re
from pathlib import Path

import pytest
from helpers import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, unindented, with the lines they start at."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start(2)), re.sub(f"^{found[1]}", "", found[2], flags=re.MULTILINE))
        for found in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_python_blocks_of_a_page_run(page):
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, source in blocks(page):
        code = compile("\n" * line + source, str(page), "exec")
        exec(code, namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)", text) if not t.startswith(("http:", "https:"))]
    assert [t for t in targets if not (page.parent / t).exists()] == []


def test_the_readme_has_code_to_run():
    assert blocks(ROOT / "README.md")


def test_the_table_of_ops_lists_every_op_with_no_problem():
    cells = [line.split("|")[1:-1] for line in (ROOT / "docs/ops.md").read_text().splitlines() if "|" in line]
    assert [row[0].strip() for row in cells[2:]] == sorted(SHIPPED)
    assert {row[-1].strip() for row in cells[2:]} == {""}
    assert all(float(error) <= 1 for row in cells[2:] for error in row[2:-1])
