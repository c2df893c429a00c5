"""What the command ``tensorgrad`` does around every subcommand: errors become a line and an exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from tensorgrad.cli.arguments import parse

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0, 1 after an error, 2 for wrong usage, 130 after Ctrl-C."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the process
            setattr(sys, name, io.StringIO())
    try:
        try:
            arguments = parse(argv)
            return int(arguments.run(arguments))
        finally:
            sys.stdout.flush()  # what cannot be written shows here, not when the process ends
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _drop_output()
        return 1
    except (ValueError, TypeError, OSError, ImportError, RuntimeError, ArithmeticError) as error:
        print(f"tensorgrad: {_describe(error)}", file=sys.stderr)
        _drop_output()
        return 1
    except MemoryError as error:
        print(f"tensorgrad: out of memory: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tensorgrad: interrupted", file=sys.stderr)
        return 130


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _drop_output() -> None:
    """Forget what could not be written, or Python would try again at its end and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
