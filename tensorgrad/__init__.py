"""tensorgrad: a small reverse-mode autodiff framework on NumPy that is never silently wrong."""

from tensorgrad.core import GradcheckError as GradcheckError
from tensorgrad.core import GradcheckReport as GradcheckReport
from tensorgrad.core import Op as Op
from tensorgrad.core import Parameter as Parameter
from tensorgrad.core import Tensor as Tensor
from tensorgrad.core import broadcast_to as broadcast_to
from tensorgrad.core import differentiate as differentiate
from tensorgrad.core import grad as grad
from tensorgrad.core import gradcheck as gradcheck
from tensorgrad.core import identity as identity
from tensorgrad.core import no_grad as no_grad
from tensorgrad.core import nondifferentiable as nondifferentiable
from tensorgrad.core import op as op
from tensorgrad.core import sum_to as sum_to
from tensorgrad.core import value_and_grad as value_and_grad
from tensorgrad.core import vjp as vjp
from tensorgrad.ops import *  # noqa: F403
from tensorgrad.data import minibatches as minibatches
from tensorgrad.nn import *  # noqa: F403
