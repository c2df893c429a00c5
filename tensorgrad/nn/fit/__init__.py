"""The training of a network: examples, the loop, what it measures, and how an interrupted one goes on."""
