"""What reads a recorded graph."""

from tensorgrad.graph.dot import to_dot as to_dot
