"""Numbers that a module has, for a function that reads them."""

import settings as settings  # modules may name one another

scale = 2.0
