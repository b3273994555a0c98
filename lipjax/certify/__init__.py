"""Exact networks and images in, proven bounds and radii out; no flax."""

from lipjax.certify.certifier import Certificates as Certificates
from lipjax.certify.certifier import Certifier as Certifier
from lipjax.certify.convolutions import absolute_norm_bound as absolute_norm_bound
from lipjax.certify.convolutions import skew_norm_bound as skew_norm_bound
from lipjax.certify.convolutions import unfolding_bound as unfolding_bound
from lipjax.certify.curvature import Curvatures as Curvatures
from lipjax.certify.curvature import (
    additive_curvature_bounds as additive_curvature_bounds,
)
from lipjax.certify.curvature import pair_curvature_bound as pair_curvature_bound
from lipjax.certify.dense import Dense as Dense
from lipjax.certify.eigenvalues import (
    largest_eigenvalue_bound as largest_eigenvalue_bound,
)
from lipjax.certify.eigenvalues import matrix_norm_bound as matrix_norm_bound
from lipjax.certify.layers import Activation as Activation
from lipjax.certify.layers import Convolution as Convolution
from lipjax.certify.layers import Flatten as Flatten
from lipjax.certify.layers import LayerBound as LayerBound
from lipjax.certify.layers import SkewConvolution as SkewConvolution
from lipjax.certify.network import Linear as Linear
from lipjax.certify.network import Network as Network
from lipjax.certify.network import NetworkBound as NetworkBound
from lipjax.certify.network import network_bound as network_bound
from lipjax.certify.serialization import certificate_rows as certificate_rows
from lipjax.certify.serialization import image_hash as image_hash
from lipjax.certify.serialization import model_record as model_record
from lipjax.certify.serialization import read_network as read_network
from lipjax.certify.torus import convolution_norm_bound as convolution_norm_bound
