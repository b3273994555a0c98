"""Certificates of batches of images, each class by the method that proves most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lipjax.certify.curvature import Curvatures, refine
from lipjax.certify.dual import Items, dual_radius, search
from lipjax.certify.heads import HeadBound, head_bound, initial_curvatures
from lipjax.certify.images import (
    SPARE,
    Budget,
    Execution,
    budget,
    closed_form_distances,
    execute,
    first_reach,
    in_pixels,
)
from lipjax.certify.network import Head, Linear, Network, NetworkBound, network_bound
from lipjax.certify.rounding import norms_bound
from lipjax.ops import CurvatureWeights
from lipjax.ops.radii import without_own_class

DUAL_ROWS = 64
"""Problems that one call of the dual solves: the last call is filled up."""

Problem = tuple[int, int]  # an image of the batch, and a class that it is not


class Dual(NamedTuple):
    """A point where the dual proves a radius: eta, and delta [D], float32."""

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
      slack: of shape [n, C], what rounding takes off the radii.
      points: of every (image, class) that the dual proves.
      curvatures: what the radii are proven with.
    """

    prediction: np.ndarray
    radius: np.ndarray
    runner_up: np.ndarray
    radii: np.ndarray
    slack: np.ndarray
    points: dict[Problem, Dual]
    curvatures: Curvatures


class Certifier:
    """Proves radii of images for one network. Calls do not change it.

    A call refines the curvatures of pairs of classes that come to bind, and returns
    them. Pass them to the next call, so that no pair is refined twice, and those of the
    last call to `model_record`.

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
      head: what is proven of its head.
      curvatures: proven of its head, none of them refined.

    Raises:
      ValueError: as `network_bound`; or for an accelerator without IEEE float64.
    """

    def __init__(self, network: Network) -> None:
        _check_device()
        self.network = network
        self.bound: NetworkBound = network_bound(network)
        with jax.enable_x64(True):
            self.head: HeadBound = head_bound(network.head)
        self.curvatures: Curvatures = initial_curvatures(network.head)

    def __call__(
        self, x: np.ndarray, curvatures: Curvatures | None = None
    ) -> Certificates:
        """Certificates of images [n, height, width, channels] in [0, 1].

        Args:
          x: the images.
          curvatures: those of an earlier call, or else `self.curvatures`.

        Raises:
          ValueError: for an empty batch, another shape, or a pixel that is not a number
            in [0, 1].
        """
        x = _checked(x, self.network.image_shape)
        curvatures = self.curvatures if curvatures is None else curvatures
        with jax.enable_x64(True):
            batch = self._execute(x, curvatures)
            distances, points, curvatures = _distances(batch, curvatures)
            radii = in_pixels(batch.network, jnp.asarray(distances), batch.cost)
            slack = np.array(_slack(batch))
        prediction, radii = np.asarray(batch.run.prediction), np.array(radii)
        radii[np.arange(len(x)), prediction] = np.inf
        radius, runner_up = radii.min(1), radii.argmin(1)
        return Certificates(
            prediction, radius, runner_up, radii, slack, points, curvatures
        )

    def _execute(self, x: np.ndarray, curvatures: Curvatures) -> _Batch:
        diameter = math.sqrt(math.prod(x.shape[1:]))
        network = self.bound._replace(layers=())
        run = execute(self.network, self.head, jnp.asarray(x))
        cost = _first_budget(network, self.head, curvatures.bounds, run, diameter)
        return _Batch(self.network.head, network, self.head, run, cost)


class _Batch(NamedTuple):
    """The execution of a batch, and what is proven of its network.

    Attributes:
      weights: of the head.
      network: what is proven of the network, without its layers.
      head: what is proven of the head.
      run: the execution.
      cost: what rounding may cost.
    """

    weights: Head
    network: NetworkBound
    head: HeadBound
    run: Execution
    cost: Budget


def _distances(
    batch: _Batch, curvatures: Curvatures
) -> tuple[np.ndarray, dict[Problem, Dual], Curvatures]:
    """Proven distances in feature space, and what proves them.

    The class that binds gets an individual bound on its curvature, and is then proven
    by the dual, until the one that binds cannot be improved. The other classes need no
    work: they are already proven to be farther away.
    """
    distances = np.array(_closed_form(batch, curvatures.bounds))
    points: dict[Problem, Dual] = {}
    if isinstance(batch.weights, Linear):
        return distances, points, curvatures
    prediction = np.asarray(batch.run.prediction)
    solved: set[Problem] = set()
    while problems := _binding(distances, solved):
        pairs = {(int(prediction[i]), t) for i, t in problems}
        if not all(curvatures.refined[pair] for pair in pairs):
            curvatures = refine(curvatures, batch.weights, sorted(pairs))
            closed = np.asarray(_closed_form(batch, curvatures.bounds))
            distances = np.maximum(distances, closed)
            continue
        for problem, distance, point in _dual(batch, curvatures, problems):
            if distance > distances[problem]:
                distances[problem], points[problem] = distance, point
        solved |= set(problems)
    return distances, points, curvatures


def _binding(distances: np.ndarray, solved: set[Problem]) -> list[Problem]:
    """The images with their nearest class, except where the dual was tried on it."""
    nearest = enumerate(distances.argmin(1).tolist())
    return [p for p in nearest if 0 < distances[p] < np.inf and p not in solved]


def _dual(
    batch: _Batch, curvatures: Curvatures, problems: list[Problem]
) -> Iterator[tuple[Problem, float, Dual]]:
    """The radius that the dual proves of each problem, and its point."""
    for start in range(0, len(problems), DUAL_ROWS):
        chunk = problems[start : start + DUAL_ROWS]
        filled = np.array((chunk * DUAL_ROWS)[:DUAL_ROWS])
        found, point = _solve(batch, curvatures.bounds, *filled.T)
        for problem, distance, eta, delta in zip(
            chunk, *map(np.asarray, (found, *point)), strict=False
        ):
            yield problem, distance, Dual(float(eta), delta)


@jax.jit
def _first_budget(network, head, curvatures, run: Execution, diameter) -> Budget:
    reach = first_reach(network, curvatures, run, diameter)
    return budget(network, head, run, reach)


@jax.jit
def _closed_form(batch: _Batch, curvatures: jax.Array) -> jax.Array:
    distances = closed_form_distances(curvatures, batch.run, batch.cost)
    return without_own_class(distances, batch.run.prediction)


@jax.jit
def _slack(batch: _Batch) -> jax.Array:
    """The loss of each radius by rounding, to first order, in pixels."""
    run, cost = batch.run, batch.cost
    slopes = jnp.where(run.slopes > 0, run.slopes, jnp.inf)
    return SPARE * (cost.features + cost.margin / slopes) / batch.network.lipschitz


@jax.jit
def _solve(batch: _Batch, curvatures, images, others):
    """Proven distances of some (image, class), and the points that prove them."""
    weights, network, head, run, cost = batch
    assert isinstance(weights, CurvatureWeights)
    classes = run.prediction[images]
    m, above = curvatures[classes, others], curvatures[others, classes]
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
        due = ", ".join(map(str, shape))
        raise ValueError(f"images must have the shape [n, {due}], n > 0: {x.shape}")
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
