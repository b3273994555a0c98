"""l2 attacks, to measure networks and to test their certificates; no flax."""

from lipjax.attacks.apgd import apgd as apgd
from lipjax.attacks.features import adversarial_features as adversarial_features
from lipjax.attacks.losses import targeted_dlr as targeted_dlr
from lipjax.attacks.pgd import pgd as pgd
from lipjax.attacks.projections import on_sphere as on_sphere
from lipjax.attacks.projections import project as project
