"""LipConvNet in PyTorch, as a competent user writes it: what lipjax is timed with.

The same layers, heads, recipe and evaluation as lipjax's, for a comparison of speed
that is no straw man: channels-last tensors, fused SGD, autocast, the fast gradient as
an autograd function, kernels computed once per evaluation, and `compile_network` where
that is faster. It needs PyTorch alone, the extra `torch`; `from_lipjax` lipjax too.
"""

from .augment import random_crop, random_flip, to_pixels
from .compilation import compile_network
from .evaluation import evaluate
from .exponential import ExpApproximation, taylor
from .network import LipConvNet
from .training import Recipe, make_optimizer, make_schedule, refresh, train_step
from .weights import from_lipjax, from_published

__all__ = [
    "LipConvNet",
    "Recipe",
    "ExpApproximation",
    "compile_network",
    "evaluate",
    "from_lipjax",
    "from_published",
    "make_optimizer",
    "make_schedule",
    "random_crop",
    "random_flip",
    "refresh",
    "taylor",
    "to_pixels",
    "train_step",
]
