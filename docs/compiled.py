"""The C on the page about compiling, by the code of that page: `python docs/compiled.py` writes it anew."""

import re
from pathlib import Path
from typing import Any

from tensorgrad.graph.export.lowerings import C_RULES
from tensorgrad.graph.native.expansions import Expansion
from tensorgrad.graph.native.printer import write_c
from tensorgrad.graph.native.program import Program, Vectors
from tensorgrad.graph.native.record import record

PAGE = Path(__file__).with_name("compile.md")
VECTORS = Vectors(size=64, registers=24)  # of a processor with AVX-512


def excerpts(text: str) -> list[str]:
    """The parts that the page shows, of the C of its first Python block's loss."""
    made: dict[str, Any] = {}
    (loss, *_) = re.findall(r"^```python\n(.*?)^compiled = ", text, re.MULTILINE | re.DOTALL)
    exec(loss, made)
    recording = record(made["error"], [made["x"], made["target"]], ["x", "target"], True)
    program = Program(Expansion(recording, C_RULES), C_RULES, len(made["x"]), VECTORS)
    source = write_c(program, "error(x, target)")
    block = re.search(r"^  // conv2d_:.*?(?=^  // gradient_of_filters_)", source, re.MULTILINE | re.DOTALL)
    product = re.search(r"^INLINE void conv2d_rows_.*?^}\n", source, re.MULTILINE | re.DOTALL)
    return [block[0], product[0]] if block and product else []


def write(text: str) -> str:
    """The page with its first blocks of C as they are now."""
    parts = iter(excerpts(text))
    return re.sub(
        r"(?<=^```c\n).*?(?=^```)", lambda old: next(parts, old[0]), text, flags=re.MULTILINE | re.DOTALL
    )


if __name__ == "__main__":
    PAGE.write_text(write(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
