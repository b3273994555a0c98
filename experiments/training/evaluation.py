"""Predictions with radii of a model on a split."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from lipjax import Constants, LipConvNet, Radii, predict_with_radius

from ..data import Split
from ..parallel.mesh import DATA
from ..parallel.shardings import batch_sharding, local_rows, put_rows, replicated
from ..reporting.summary import Summary, summarize
from .augmentation import to_pixels


class Evaluator:
    """Predictions with radii of whole splits, in batches of one shape.

    Args:
      model: the network.
      levels: a pixel is a byte / levels.
      batch_size: images per call, rounded up to equal shares.
      mesh: whose devices share each batch; None: one device.

    Attributes:
      model: the network, computing in float32.
    """

    def __init__(
        self,
        model: LipConvNet,
        levels: int,
        batch_size: int = 250,
        mesh: Mesh | None = None,
    ) -> None:
        self.model = model.clone(dtype=None)
        self._mesh = mesh
        self._shares = mesh.shape[DATA] if mesh else 1
        self._batch_size = batch_size
        whole = replicated(mesh) if mesh else None
        predict = functools.partial(_predict, self.model, levels)
        self._predict = jax.jit(predict, out_shardings=whole)
        self._pairs = jax.jit(
            lambda variables: self.model.apply(variables, method="pair_estimates"),
            out_shardings=whole,
        )

    def estimate_constants(self, variables: Any) -> Constants:
        """Cheap estimates of the certificates' constants, to monitor a run."""
        return Constants(1 / min(self.model.std), self._pairs(variables))

    def radii(
        self,
        variables: Any,
        split: Split,
        constants: Constants,
        progress: Callable[[int], object] = lambda images: None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prediction, radius of the prediction and runner-up of every image.

        Args:
          variables: of the model.
          split: the images.
          constants: see `lipjax.certificate_constants`.
          progress: called with the number of images of each finished batch.
        """
        parts = []
        constants = constants._replace(lipschitz=np.float32(constants.lipschitz))
        for chosen, count in _batches(len(split), self._batch_size, self._shares):
            images = self._read(split.images, chosen)
            result = self._predict(variables, constants, images)
            parts.append([np.asarray(value)[:count] for value in result])
            progress(count)
        prediction, radius, runner_up = map(np.concatenate, zip(*parts, strict=True))
        return prediction, radius, runner_up

    def _read(self, images: Any, chosen: np.ndarray) -> Any:
        """The chosen images; this host reads those that its devices hold."""
        if self._mesh is None:
            return images[chosen]
        place = batch_sharding(self._mesh)
        held = chosen[local_rows(place, len(chosen))]
        return put_rows(images[held], place, len(chosen))

    def summary(self, variables: Any, split: Split, constants: Constants) -> Summary:
        """The split's summary at the standard radii."""
        prediction, radius, _ = self.radii(variables, split, constants)
        return summarize(prediction, radius, split.labels)


def _predict(model, levels, variables, constants, images) -> Radii:
    x = to_pixels(images, levels)
    return predict_with_radius(model, variables, x, constants=constants)


def _batches(total: int, size: int, shares: int) -> Iterator[tuple[np.ndarray, int]]:
    """Indices of the images of each batch, and how many of them count.

    All batches have one size, a multiple of `shares`. The last one is filled up with
    the first images.
    """
    size = -(-min(size, total) // shares) * shares
    for start in range(0, total, size):
        yield np.arange(start, start + size) % total, min(size, total - start)
