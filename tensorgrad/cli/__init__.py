"""The command ``tensorgrad``: train, evaluate and use networks for images, draw them, check the ops."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tensorgrad.cli.arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0, 1 after an error, 2 for wrong usage, 130 after Ctrl-C."""
    arguments = parse(argv)
    try:
        return int(arguments.run(arguments))
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        print(f"tensorgrad: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tensorgrad: interrupted", file=sys.stderr)
        return 130
