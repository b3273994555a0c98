"""Weights and logits in, radii and bounds out; no flax."""

from lipjax.certify.curvature import curvature_radii as curvature_radii
from lipjax.certify.curvature import global_curvatures as global_curvatures
from lipjax.certify.curvature import pair_curvatures as pair_curvatures
from lipjax.certify.radii import Radii as Radii
from lipjax.certify.radii import binding_radius as binding_radius
from lipjax.certify.radii import linear_radii as linear_radii
from lipjax.certify.radii import margins as margins
