"""The page that compares the peers says what they do: asked again, those installed answer the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("compare.py")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "comparison.md"


def table(text):
    """The columns of a Markdown table, by their headings."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in text.splitlines()]
    head, _, *body = rows
    return {name: {row[0]: row[i] for row in body} for i, name in enumerate(head) if i}


def published():
    text = PAGE.read_text(encoding="utf-8")
    return table(re.search(r"^\| \| tensorgrad .*\n(?:\|.*\n)+", text, re.MULTILINE)[0])


def test_the_page_has_every_situation_and_peer():
    columns = published()
    assert len(columns) == 8
    assert {len(column) for column in columns.values()} == {13}


@pytest.mark.parametrize("peer", sorted(published()))
def test_the_page_says_what_a_peer_does(peer):
    name, _, version = peer.rpartition(" ")
    done = subprocess.run([sys.executable, PROGRAM, name], capture_output=True, text=True, check=True)
    if "not installed" in done.stderr:
        pytest.skip(f"{name} is not installed")
    ((found, column),) = table(done.stdout).items()
    if found != peer:
        pytest.skip(f"the page is about release {version}, installed is {found}")
    assert column == published()[peer]
