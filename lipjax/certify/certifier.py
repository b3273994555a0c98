"""Certificates of batches of images, each class by the method that proves most."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lipjax.certify.curvature import pair_curvature_bound
from lipjax.certify.dual import Items, dual_radius, search
from lipjax.certify.heads import HeadBound, head_bound
from lipjax.certify.images import (
    SPARE,
    Budget,
    Execution,
    budget,
    closed_form_in_features,
    execute,
    first_reach,
    in_pixels,
)
from lipjax.certify.network import Linear, Network, NetworkBound, network_bound
from lipjax.certify.rounding import norms_bound
from lipjax.ops.radii import without_own_class

DUAL_ROWS = 64
"""Problems that one call of the dual solves: the last call is filled up."""


class Dual(NamedTuple):
    """Where the dual proves a radius: eta, and delta [D] in feature space, float32."""

    eta: float
    delta: np.ndarray


class Certificates(NamedTuple):
    """Proven radii of n images, l2, in pixels of [0, 1].

    Attributes:
      prediction: of shape [n].
      radius: of shape [n]: no image closer than this is classified otherwise, neither
        by the exact network nor by its execution in float64.
      runner_up: of shape [n], the class whose radius binds.
      radii: of shape [n, C], against every class; infinite for the prediction.
      slack: of shape [n, C], what rounding costs of them.
      points: of every (image, class) that the dual proves.
    """

    prediction: np.ndarray
    radius: np.ndarray
    runner_up: np.ndarray
    radii: np.ndarray
    slack: np.ndarray
    points: dict[tuple[int, int], Dual]


class Certifier:
    """Proves radii of images for one network.

    Example:
      >>> with jax.enable_x64(True):
      ...     head = Linear(jnp.eye(2), jnp.zeros(2))
      ...     network = Network((1, 1, 2), jnp.zeros(2), jnp.ones(2), (), head)
      ...     certifier = Certifier(network)
      ...     radius = certifier(np.array([[[[0.75, 0.25]]]])).radius[0]
      >>> bool(0.5**1.5 - 1e-10 < radius <= 0.5**1.5)
      True

    Attributes:
      network: the network.
      bound: what is proven of it.
      head: what is proven of its head; curvatures are refined as pairs come to bind.

    Raises:
      ValueError: as `network_bound`; or for an accelerator without IEEE float64.
    """

    def __init__(self, network: Network) -> None:
        _check_device()
        self.network = network
        self.bound: NetworkBound = network_bound(network)
        self._constants = self.bound._replace(layers=())
        with jax.enable_x64(True):
            self.head: HeadBound = head_bound(network.head)
        self._refined: set[tuple[int, int]] = set()

    def __call__(self, x: np.ndarray) -> Certificates:
        """Certificates of images [n, height, width, channels] in [0, 1].

        Raises:
          ValueError: for no image at all, another shape, or a pixel that is not a
            number in [0, 1].
        """
        x = _checked(x, self.network.image_shape)
        diameter = math.sqrt(math.prod(x.shape[1:]))
        with jax.enable_x64(True):
            run = execute(self.network, self.head, jnp.asarray(x))
            cost = _first_budget(self._constants, self.head, run, diameter)
            distances, points = self._distances(run, cost)
            radii = np.array(in_pixels(self._constants, jnp.asarray(distances), cost))
            slack = np.array(_slack(self._constants, run, cost))
        prediction = np.asarray(run.prediction)
        radii[np.arange(len(x)), prediction] = np.inf
        return Certificates(
            prediction, radii.min(1), radii.argmin(1), radii, slack, points
        )

    def _distances(self, run: Execution, cost: Budget):
        """Proven distances in feature space, and where the dual proves them.

        The class that binds is looked at again, with its own curvature and then by the
        dual, until the one that binds cannot be improved: bounds that are proven are
        all that decides which other classes are left alone.
        """
        distances = np.array(_closed_form(self.head, run, cost))
        points: dict[tuple[int, int], Dual] = {}
        if isinstance(self.network.head, Linear):
            return distances, points
        prediction = np.asarray(run.prediction)
        solved: set[tuple[int, int]] = set()
        while True:
            nearest = distances.argmin(1)
            rows = [
                (i, int(t))
                for i, t in enumerate(nearest)
                if 0 < distances[i, t] < np.inf and (i, int(t)) not in solved
            ]
            if not rows:
                return distances, points
            if self._refine({(int(prediction[i]), t) for i, t in rows}):
                closed = np.asarray(_closed_form(self.head, run, cost))
                distances = np.maximum(distances, closed)
                continue
            for start in range(0, len(rows), DUAL_ROWS):
                chunk = rows[start : start + DUAL_ROWS]
                for (i, t), radius, dual in self._dual(run, cost, chunk):
                    if radius > distances[i, t]:
                        distances[i, t], points[i, t] = radius, dual
            solved |= set(rows)

    def _refine(self, pairs: set[tuple[int, int]]) -> bool:
        """Whether a pair of classes was new: it gets a curvature of its own."""
        new = pairs - self._refined
        if not new:
            return False
        weights: Any = self.network.head
        curvatures = np.array(self.head.curvatures)
        for y, t in sorted(new):
            for pair in ((y, t), (t, y)):
                bound = pair_curvature_bound(weights, *pair)
                curvatures[pair] = min(curvatures[pair], bound)
        self.head = self.head._replace(curvatures=jnp.asarray(curvatures))
        self._refined |= new | {(t, y) for y, t in new}
        return True

    def _dual(self, run: Execution, cost: Budget, rows: list[tuple[int, int]]):
        filled = np.array((rows * DUAL_ROWS)[:DUAL_ROWS])
        radii, point = _solve(
            self.network.head, self._constants, self.head, run, cost, *filled.T
        )
        for row, radius, eta, delta in zip(
            rows, *map(np.asarray, (radii, *point)), strict=False
        ):
            yield row, radius, Dual(float(eta), delta)


@jax.jit
def _first_budget(network, head, run: Execution, diameter) -> Budget:
    reach = first_reach(network, head, run, diameter)
    return budget(network, head, run, reach)


@jax.jit
def _closed_form(head: HeadBound, run: Execution, cost: Budget) -> jax.Array:
    distances = closed_form_in_features(head, run, cost)
    return without_own_class(distances, run.prediction)


@jax.jit
def _slack(network: NetworkBound, run: Execution, cost: Budget) -> jax.Array:
    """What rounding takes off the radii, to first order, in pixels."""
    slopes = jnp.where(run.slopes > 0, run.slopes, jnp.inf)
    return SPARE * (cost.features + cost.margin / slopes) / network.lipschitz


@jax.jit
def _solve(weights, network, head, run: Execution, cost: Budget, images, others):
    """Proven distances of some (image, class), and the points that prove them."""
    classes = run.prediction[images]
    m, above = head.curvatures[classes, others], head.curvatures[others, classes]
    items = Items(run.features[images], classes, others, m, above)
    point = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), search(weights, items))
    away = norms_bound(point.delta)[:, None]
    chosen = jax.tree.map(lambda leaf: leaf[images], run)
    farther = budget(network, head, chosen, cost.reach[images], away)
    margin, slope = (
        jnp.take_along_axis(SPARE * each, others[:, None], axis=1)[:, 0]
        for each in (farther.margin, farther.slope)
    )
    return dual_radius(weights, items, point, margin, slope), point


def _checked(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.shape[1:] != tuple(shape) or len(x) == 0:
        raise ValueError(f"images [n, {', '.join(map(str, shape))}] are due: {x.shape}")
    if not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
        raise ValueError("images have pixels that are not numbers in [0, 1]")
    return x


def _check_device() -> None:
    settings: Any = jax.config
    device = settings.jax_default_device or jax.default_backend()
    if getattr(device, "platform", device) == "tpu":
        raise ValueError(
            "a TPU has no IEEE float64: certify on a CPU or GPU (JAX_PLATFORMS=cpu)"
        )
