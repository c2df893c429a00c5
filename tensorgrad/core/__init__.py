"""The engine: tensors, ops, the reverse walk and what is built on it. It knows no particular op."""

from tensorgrad.core.backward import walk as walk
from tensorgrad.core.broadcast import broadcast_to as broadcast_to
from tensorgrad.core.broadcast import identity as identity
from tensorgrad.core.broadcast import sum_to as sum_to
from tensorgrad.core.checkpoint import checkpoint as checkpoint
from tensorgrad.core.gradcheck import GradcheckError as GradcheckError
from tensorgrad.core.gradcheck import GradcheckReport as GradcheckReport
from tensorgrad.core.gradcheck import gradcheck as gradcheck
from tensorgrad.core.nan import detect_nan as detect_nan
from tensorgrad.core.op import Op as Op
from tensorgrad.core.op import differentiate as differentiate
from tensorgrad.core.op import implements as implements
from tensorgrad.core.op import nondifferentiable as nondifferentiable
from tensorgrad.core.op import op as op
from tensorgrad.core.recording import no_grad as no_grad
from tensorgrad.core.registry import OPS as OPS
from tensorgrad.core.tensor import Array as Array
from tensorgrad.core.tensor import Parameter as Parameter
from tensorgrad.core.tensor import Tensor as Tensor
from tensorgrad.core.transforms import grad as grad
from tensorgrad.core.transforms import hessian as hessian
from tensorgrad.core.transforms import hvp as hvp
from tensorgrad.core.transforms import jacobian as jacobian
from tensorgrad.core.transforms import jvp as jvp
from tensorgrad.core.transforms import value_and_grad as value_and_grad
from tensorgrad.core.transforms import vjp as vjp
