"""Provably 1-Lipschitz convolutional networks in JAX, with certificates.

`LipConvNet` is the network. `predict_with_radius` gives its predictions with a radius,
in l2 and in pixels of [0, 1]: in exact arithmetic, no image closer than the radius gets
another prediction. It does not count rounding. `lipjax.certify.Certifier` does: it
proves radii that hold for the execution in float64 as well.
"""

import importlib.metadata

from lipjax import losses as losses
from lipjax import metrics as metrics
from lipjax import pretrained as pretrained
from lipjax.inference.audit import audit as audit
from lipjax.inference.exact import exact_network as exact_network
from lipjax.inference.frozen import FrozenNetwork as FrozenNetwork
from lipjax.inference.frozen import freeze as freeze
from lipjax.inference.onnx_model import to_onnx as to_onnx
from lipjax.inference.portable import portable as portable
from lipjax.inference.predict import Constants as Constants
from lipjax.inference.predict import certificate_constants as certificate_constants
from lipjax.inference.predict import lipschitz_bound as lipschitz_bound
from lipjax.inference.predict import predict_with_radius as predict_with_radius
from lipjax.models import LipConvNet as LipConvNet
from lipjax.nn import ExpApproximation as ExpApproximation
from lipjax.nn import refresh_spectral as refresh_spectral
from lipjax.ops import Radii as Radii

try:
    __version__ = importlib.metadata.version("lipjax")
except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"
