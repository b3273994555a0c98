"""From trained Linen models to certified predictions."""

from lipjax.inference.audit import Audit as Audit
from lipjax.inference.audit import AuditedLayer as AuditedLayer
from lipjax.inference.audit import audit as audit
from lipjax.inference.exact import exact_head as exact_head
from lipjax.inference.exact import exact_layer as exact_layer
from lipjax.inference.exact import exact_network as exact_network
from lipjax.inference.frozen import FrozenNetwork as FrozenNetwork
from lipjax.inference.frozen import freeze as freeze
from lipjax.inference.predict import Constants as Constants
from lipjax.inference.predict import certificate_constants as certificate_constants
from lipjax.inference.predict import lipschitz_bound as lipschitz_bound
from lipjax.inference.predict import predict_with_radius as predict_with_radius
