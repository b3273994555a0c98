"""Provably 1-Lipschitz convolutional networks in JAX, with certificates.

`LipConvNet` is the network; `predict_with_radius` its predictions with the radius, in
l2 and in pixels of [0, 1], inside which no change of the image alters them.
"""

from lipjax.inference.exact import exact_network as exact_network
from lipjax.inference.frozen import FrozenNetwork as FrozenNetwork
from lipjax.inference.frozen import freeze as freeze
from lipjax.inference.predict import Constants as Constants
from lipjax.inference.predict import certificate_constants as certificate_constants
from lipjax.inference.predict import lipschitz_bound as lipschitz_bound
from lipjax.inference.predict import predict_with_radius as predict_with_radius
from lipjax.models import LipConvNet as LipConvNet
from lipjax.nn import ExpApproximation as ExpApproximation
from lipjax.nn import refresh_spectral as refresh_spectral
from lipjax.ops import Radii as Radii
