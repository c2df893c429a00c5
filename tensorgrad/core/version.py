"""The version, and whether the package's folder holds this package alone.

Another package has the import name ``tensorgrad`` too. Installers put both into one folder, where the later
overwrites ``__init__.py`` of the earlier, and say nothing.
"""

from __future__ import annotations

import os
import warnings

__all__ = ["__version__"]

__version__ = "0.1.0"


def find_intruders(folder: str) -> list[str]:
    """What lies beside this package's two modules, or is missing of them; nothing where no source lies."""
    found = {name for name in os.listdir(folder) if name.endswith(".py")}
    return sorted(found ^ {"__init__.py", "__main__.py"}) if found else []


def warn_of_intruders(folder: str) -> None:
    """RuntimeWarning if files of another package lie in this one's folder, or took some of it with them."""
    if found := find_intruders(folder):
        warnings.warn(
            f"tensorgrad: another package of this name was installed into {folder}, or removed from it "
            f"({', '.join(found[:3])}{', ...' if len(found) > 3 else ''}), and a mixture is imported; "
            "uninstall both, tensorgrad and tensorgrad-numpy, and install the one you want",
            RuntimeWarning,
            stacklevel=2,
        )


# At the import of any floor: where the other's ``__init__.py`` lies on top, ours is not run.
warn_of_intruders(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
