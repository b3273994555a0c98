"""LipConvNet in PyTorch, the baseline that lipjax is timed against.

It has the same layers, heads, recipe and evaluation as lipjax, and is written to be
fast: channels-last tensors, fused SGD, autocast, the fast gradient as an autograd
function, kernels computed once per evaluation, and `compile_network` where that is
faster. It needs only PyTorch (the extra `torch`); `from_lipjax` needs lipjax too.
"""

from .augmentation import random_crop, random_flip, to_pixels
from .compilation import compile_network
from .evaluation import evaluate
from .exponential import ExpApproximation, taylor
from .lipjax_weights import from_lipjax
from .network import LipConvNet
from .training import Recipe, make_optimizer, make_schedule, refresh, train_step

__all__ = [
    "LipConvNet",
    "Recipe",
    "ExpApproximation",
    "compile_network",
    "evaluate",
    "from_lipjax",
    "make_optimizer",
    "make_schedule",
    "random_crop",
    "random_flip",
    "refresh",
    "taylor",
    "to_pixels",
    "train_step",
]
