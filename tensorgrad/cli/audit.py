"""``tensorgrad audit``."""

from __future__ import annotations

import argparse
import sys

from tensorgrad.audit import run, table

__all__ = ["audit"]


def audit(arguments: argparse.Namespace) -> int:
    """Print the table of the ops; 1 if one is wrong."""
    rows = run(arguments.order, progress=lambda op: print(f"\r{op:<40}", end="", file=sys.stderr))
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    print(table(rows))
    wrong = [row for row in rows if not row.ok]
    print(f"{len({row.op for row in rows})} ops, {len(rows)} rows, {len(wrong)} with a problem")
    return 1 if wrong else 0
