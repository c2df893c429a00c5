"""A recorded graph as C, and the C as machine code."""
