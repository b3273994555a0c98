"""Whole networks."""

from lipjax.models.lipconvnet import LipConvNet as LipConvNet
