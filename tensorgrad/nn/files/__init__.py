"""Files of arrays, and of trees of them: written whole or not at all, and checked before use."""

from tensorgrad.nn.files.archive import *
from tensorgrad.nn.files.trees import *
