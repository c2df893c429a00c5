"""A recorded graph as a program in another language: NumPy.

`lowerings` holds the table of rules, op by op. `replay` runs the graph again with arrays that write down
what is done to them (`trace`); `program` chooses what of it is needed, and `page` writes it.
"""

from tensorgrad.graph.export.numpy_code import *
