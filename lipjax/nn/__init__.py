"""Linen modules: they hold parameters and state, and call `lipjax.ops`."""

from lipjax.nn.activations import ChannelMaxPool as ChannelMaxPool
from lipjax.nn.activations import Householder as Householder
from lipjax.nn.activations import HouseholderOrder2 as HouseholderOrder2
from lipjax.nn.activations import MaxMin as MaxMin
from lipjax.nn.activations import ProjectionPool as ProjectionPool
from lipjax.nn.circular import (
    BlockConvolutionOrthogonal as BlockConvolutionOrthogonal,
)
from lipjax.nn.circular import CayleyConv as CayleyConv
from lipjax.nn.circular import ReflectorConv as ReflectorConv
from lipjax.nn.heads import CurvatureHead as CurvatureHead
from lipjax.nn.heads import Head as Head
from lipjax.nn.heads import LinearHead as LinearHead
from lipjax.nn.heads import NormalizedHead as NormalizedHead
from lipjax.nn.heads import OrthogonalHead as OrthogonalHead
from lipjax.nn.soc import ExpApproximation as ExpApproximation
from lipjax.nn.soc import SkewOrthogonalConv as SkewOrthogonalConv
from lipjax.nn.spectral import SPECTRAL as SPECTRAL
from lipjax.nn.spectral import refresh_spectral as refresh_spectral
from lipjax.nn.strided import StridedConv as StridedConv
