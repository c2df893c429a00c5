"""The audit: sample calls of every op, and the sweep that holds each op's derivatives against them.

`SAMPLES` is the one table of calls that the tests and the audit share. An op not in it is reported by name.
"""

from tensorgrad.audit.sample import *
from tensorgrad.audit.sweep import *
