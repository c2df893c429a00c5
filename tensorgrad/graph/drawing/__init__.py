"""Pictures of a recorded graph. The functions are in the modules of their names, `draw` and `player`.

- ``folding``: what of the graph is drawn, with ``repeats``, stretches that come again and again
- ``labels``: the words on a node
- ``dot``: the DOT text, the language of Graphviz
- ``graphviz``: who lays it out, or without Graphviz, for the player alone, ``plain_layout``
- ``pictures``: images, feature maps and filters in the player
"""
