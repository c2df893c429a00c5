"""``python -m tensorgrad`` is the command ``tensorgrad``."""

from tensorgrad.cli import main

raise SystemExit(main())
