"""The page that compares the peers says what they do: asked again, those installed answer the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("compare.py")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "comparison.md"


def tables(text):
    """The columns of all Markdown tables of situations in a text, by their headings."""
    columns = {}
    for found in re.findall(r"^\| \| .*\n(?:\|.*\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found.splitlines()]
        head, _, *body = rows
        for i, name in enumerate(head[1:], 1):
            column = {row[0]: row[i] for row in body}
            assert columns.setdefault(name, column) == column  # tensorgrad is in both
    return columns


PUBLISHED = tables(PAGE.read_text(encoding="utf-8"))


def test_the_page_has_every_situation_and_peer():
    assert len(PUBLISHED) == 8
    assert {len(column) for column in PUBLISHED.values()} == {13}


@pytest.mark.parametrize("peer", PUBLISHED)
def test_the_page_says_what_a_peer_does(peer):
    name, _, version = peer.rpartition(" ")
    done = subprocess.run([sys.executable, PROGRAM, name], capture_output=True, text=True, check=True)
    if not done.stdout:
        pytest.skip(f"{name} is not installed")
    ((found, column),) = tables(done.stdout).items()
    if found != peer:
        pytest.skip(f"the page is about release {version}, installed is {found}")
    assert column == PUBLISHED[peer]
