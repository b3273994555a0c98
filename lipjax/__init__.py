"""Provably 1-Lipschitz convolutional networks in JAX, with certificates.

`LipConvNet` is the network; `predict_with_radius` its predictions with the radius, in
l2 and in pixels of [0, 1], inside which no change of the image alters them.
"""

from lipjax.certify import Radii as Radii
from lipjax.exact import exact_network as exact_network
from lipjax.frozen import FrozenNetwork as FrozenNetwork
from lipjax.frozen import freeze as freeze
from lipjax.models import LipConvNet as LipConvNet
from lipjax.nn import Series as Series
from lipjax.nn import refresh_spectral as refresh_spectral
from lipjax.predict import Constants as Constants
from lipjax.predict import certificate_constants as certificate_constants
from lipjax.predict import lipschitz_bound as lipschitz_bound
from lipjax.predict import predict_with_radius as predict_with_radius
