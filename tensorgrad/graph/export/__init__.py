"""A recorded graph as a program in another language: NumPy.

``lowerings`` is the table of rules, op by op: these are the ``numpy_rules``, and ``numpy_functions`` what a
program may call. ``replay`` takes the graph again with arrays that write down what is done to them
(``trace``), which begins with its ``leaves``. ``program`` chooses the lines, ``names`` and ``expressions``
say what stands in them, and ``page`` puts them together; ``numpy_code`` is what the user calls.
"""

from tensorgrad.graph.export.numpy_code import *
