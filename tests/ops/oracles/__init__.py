"""What each op should compute, from its definition; in files of the names that its samples have in the audit.

An oracle is independent of the op: loops over elements in plain Python, or another algorithm.
"""

from oracles import elementwise, images, linalg, losses, reduce, shape

#: Per family the oracle of each op, by its name.
FAMILIES = {
    "elementwise": elementwise.ORACLES,
    "reduce": reduce.ORACLES,
    "shape": shape.ORACLES,
    "linalg": linalg.ORACLES,
    "losses": losses.ORACLES,
    "images": images.ORACLES,
}
ORACLES = {name: oracle for table in FAMILIES.values() for name, oracle in table.items()}
