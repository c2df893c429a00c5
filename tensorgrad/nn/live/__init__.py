"""Pages in which a network trains."""
