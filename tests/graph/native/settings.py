"""Numbers that a module has, for a function that reads them."""

scale = 2.0
