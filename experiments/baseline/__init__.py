"""LipConvNet in PyTorch, the baseline that lipjax is timed against.

It has the same layers, heads, recipe and evaluation as lipjax, and is written to be
fast: channels-last tensors, fused SGD, autocast, the fast gradient as an autograd
function, kernels computed once per evaluation, and `compile_network` where that is
faster. It needs only PyTorch (the extra `torch`); `from_lipjax` needs lipjax too.
"""

from .augmentation import random_crop as random_crop
from .augmentation import random_flip as random_flip
from .augmentation import to_pixels as to_pixels
from .lipjax_weights import from_lipjax as from_lipjax
from .network import LipConvNet as LipConvNet
from .network import compile_network as compile_network
from .training import Recipe as Recipe
from .training import evaluate as evaluate
from .training import make_optimizer as make_optimizer
from .training import make_schedule as make_schedule
from .training import refresh as refresh
from .training import train_step as train_step
