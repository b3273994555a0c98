"""Auto-PGD: projected gradient ascent that sets its own step size."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lipjax.attacks.losses import Best, Logits, Loss, better, evaluate
from lipjax.attacks.projections import directions, on_sphere, per_image, project
from lipjax.losses import cross_entropy

_MOMENTUM = 0.75


def apgd(
    logits: Logits,
    x: jax.Array,
    labels: jax.Array,
    radius: jax.Array | float,
    key: jax.Array,
    *,
    loss: Loss = cross_entropy,
    steps: int = 100,
    box: bool = True,
) -> jax.Array:
    """Attacks each image by Auto-PGD in l2.

    Gradient ascent with momentum, from a random point. The first steps are twice the
    radius. At fixed checkpoints an image's step is halved and its search goes back to
    its best point, if fewer than 3/4 of the last steps raised the loss, or if neither
    the step nor the best loss has changed since the checkpoint before.

    Args:
      logits: the network, as a function that `jax.jit` can trace.
      x: images of shape [n, ...] in [0, 1].
      labels: of shape [n].
      radius: l2, one or [n].
      key: for the starting points.
      loss: what to make larger; see `targeted_dlr`.
      steps: gradients.
      box: whether pixels must stay in [0, 1].

    Returns:
      Points [n, ...] in the balls: a misclassified one if any was met, else the one of
      the largest loss.

    References: Croce & Hein, Reliable evaluation of adversarial robustness with an
    ensemble of diverse parameter-free attacks, ICML 2020, section 3.

    Example:
      >>> x = jnp.full((1, 2), 0.5)
      >>> y = apgd(lambda x: x, x, jnp.array([0]), 0.1, jax.random.key(0))
      >>> [f"{v:.2f}" for v in y[0]]
      ['0.43', '0.57']
    """
    radius = jnp.broadcast_to(jnp.asarray(radius, x.dtype), len(x))
    since = jnp.asarray(_checkpoints(steps))
    start = project(on_sphere(key, x, radius), x, radius, box)
    value, found, gradient = evaluate(logits, loss, start, labels)
    clean_value, clean_found, _ = evaluate(logits, loss, x, labels)
    best = Best(start, value, found)
    state = _Search(
        point=start,
        before=start,
        gradient=gradient,
        value=value,
        step=2 * radius,
        top=best._replace(found=jnp.zeros_like(found)),
        top_gradient=gradient,
        rises=jnp.zeros(len(x), jnp.int32),
        last_top=value,
        halved=jnp.ones(len(x), bool),
        best=better(Best(x, clean_value, clean_found), best),
    )

    def advance(i, s: _Search) -> _Search:
        ahead = s.point + per_image(s.step, x) * directions(s.gradient)
        ahead = project(ahead, x, radius, box)
        share = jnp.where(i == 0, 1.0, _MOMENTUM).astype(x.dtype)
        mixed = s.point + share * (ahead - s.point) + (1 - share) * (s.point - s.before)
        point = project(mixed, x, radius, box)
        value, found, gradient = evaluate(logits, loss, point, labels)
        new = Best(point, value, found)
        higher = value > s.top.loss
        top_gradient = jnp.where(per_image(higher, x), gradient, s.top_gradient)
        top = better(s.top, new._replace(found=jnp.zeros_like(found)))
        s = s._replace(
            point=point,
            before=s.point,
            gradient=gradient,
            rises=s.rises + (value > s.value).astype(jnp.int32),
            value=value,
            top=top,
            top_gradient=top_gradient,
            best=better(s.best, new),
        )
        return lax.cond(since[i] > 0, lambda: _at_checkpoint(s, since[i]), lambda: s)

    return lax.fori_loop(0, steps, advance, state).best.point


class _Search(NamedTuple):
    """The search of n images, after a step."""

    point: jax.Array
    before: jax.Array  # the point one step earlier
    gradient: jax.Array
    value: jax.Array
    step: jax.Array
    top: Best  # the point of the largest loss
    top_gradient: jax.Array
    rises: jax.Array  # steps since the last checkpoint that raised the loss
    last_top: jax.Array  # largest loss at the last checkpoint
    halved: jax.Array  # whether the step changed there
    best: Best


def _at_checkpoint(s: _Search, since: jax.Array) -> _Search:
    """Images that make no progress go back to their best point and halve their step."""
    stuck = 4 * s.rises < 3 * since
    idle = ~s.halved & (s.top.loss <= s.last_top)
    back = stuck | idle

    def pick(there, here):
        return jnp.where(per_image(back, here), there, here)

    return s._replace(
        point=pick(s.top.point, s.point),
        before=pick(s.top.point, s.before),
        gradient=pick(s.top_gradient, s.gradient),
        value=pick(s.top.loss, s.value),
        step=jnp.where(back, s.step / 2, s.step),
        rises=jnp.zeros_like(s.rises),
        last_top=s.top.loss,
        halved=back,
    )


def _checkpoints(steps: int) -> np.ndarray:
    """Steps since the last checkpoint, at each step that is one; 0 at the others."""
    ends, period, share = [0], 0.22, 0.22
    while share <= 1:
        ends.append(int(np.ceil(share * steps - 1e-9)))
        period = max(period - 0.03, 0.06)
        share += period
    since = np.zeros(steps, np.int32)
    for previous, end in zip(ends[:-1], ends[1:], strict=True):
        since[end - 1] += end - previous
    return since
