"""Contractions state their precision."""

import jax
import jax.numpy as jnp
import numpy as np

from helpers import jaxprs
from helpers.dense import normal
from lipjax.ops import contract


def test_contract_is_einsum():
    a, b = normal(0, 2, 3), normal(1, 3, 4)
    np.testing.assert_allclose(contract("ij,jk->ik", a, b), a @ b, rtol=1e-14)


def test_precision_is_highest():
    jaxpr = jax.make_jaxpr(lambda a: contract("ij,jk->ik", a, a))(jnp.ones((2, 2)))
    assert jaxprs.contractions(jaxpr) and not jaxprs.imprecise(jaxpr)
