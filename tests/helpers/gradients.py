"""Gradients of a curvature head's margins: executed, exact, and their proven errors."""

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb

from helpers import oracle
from lipjax import verify as checker
from lipjax.certify.dual import Items, margin_and_gradient
from lipjax.certify.heads import head_bound
from lipjax.certify.network import Linear


@oracle.exactly
def exact(head, f):
    """The gradients [C, D] of the logits at features [D], in balls."""
    hidden = oracle.balls(f) @ oracle.balls(head.hidden_kernel)
    hidden = hidden + oracle.balls(head.hidden_bias)
    slopes = np.vectorize(lambda z: 1 / (1 + (-z).exp()), otypes=[object])(hidden)
    columns = oracle.balls(np.asarray(head.output_kernel).T)
    return (columns * slopes) @ oracle.balls(np.asarray(head.hidden_kernel).T)


def by_numpy(model, f, y, t):
    """As `proven_radii` executes it."""
    slopes = checker.head_of(model, f[None])[1][0]
    return model.hidden_kernel @ ((model.kernel.T[y] - model.kernel.T[t]) * slopes)


def by_jax(head, f, y, t):
    with jax.disable_jit():
        head = jax.tree.map(jnp.asarray, head)
        zeros = np.zeros(1)
        items = Items(f[None], np.array([y]), np.array([t]), zeros, zeros)
        items = jax.tree.map(jnp.asarray, items)
        return np.asarray(margin_and_gradient(head, items, 0 * items.features)[1])[0]


def certifiers_bound(head, size, y, t):
    slope, offset = map(np.asarray, head_bound(head).gradient_error)
    return sum(float(slope[c]) * size + float(offset[c]) for c in (y, t))


def checkers_bound(model, size, y, t):
    """`doubt` of `proven_radii`."""
    most = np.max(model.units * size + model.sizes)
    relative = model.kappa * most / 4 + 20 * checker.U + model.tail
    relative = checker.norm_of(model.units) * relative
    columns = model.columns[y] + model.columns[t]
    return float(checker.UP * relative * columns + checker.TINY)


@oracle.exactly
def ratios(subject, f, random, jax_too=False):
    """Of one margin's gradient at features [D]: (true error) / (its bound)."""
    head, model = subject.network.head, subject.model
    if isinstance(head, Linear) or model is None or not np.isfinite(f).all():
        return {}
    y, t = random.sample(range(model.classes), 2)
    with np.errstate(all="ignore"):
        size = float(checker.norm_of(f))
        if not np.max(model.units * size + model.sizes) < checker.HUGE:
            return {}
        executed = [by_numpy(model, f, y, t)]
        if jax_too:
            executed.append(by_jax(head, f, y, t))
    rows = exact(head, f)
    losses = [oracle.norm(oracle.balls(v) - (rows[y] - rows[t])) for v in executed]
    bounds = {"checker": checkers_bound(model, size, y, t)}
    if subject.bound:
        bounds["certifier"] = certifiers_bound(head, size, y, t)
    return {
        f"gradient {name}": max(oracle.ratio(loss, arb(bound)) for loss in losses)
        for name, bound in bounds.items()
    }
