"""Random crops, flips and operations, inside the jitted step."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ..configs import Config
from ..data import Dataset
from .randaugment import rand_augment


def random_key(seed: int) -> jax.Array:
    """The key of a run's random draws after the initial weights."""
    return jax.random.key(seed + 1)


def make_augment(
    config: Config, data: Dataset
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Makes `(step, images) -> x`: stored bytes to augmented pixels in [0, 1].

    The random draws of a step depend on the seed and the step alone.
    """

    def augment(step: jax.Array, images: jax.Array) -> jax.Array:
        x = to_pixels(images, data.levels)
        key = jax.random.fold_in(random_key(config.seed), step)
        if config.augment:
            crop, flip = jax.random.split(key)
            x = random_crop(crop, x, data.crop_padding)
            x = random_flip(flip, x) if data.flip else x
        if config.randaugment:
            third = jax.random.fold_in(key, 2)  # after those of crops and flips
            x = rand_augment(third, x, config.randaugment)
        return x

    return augment


def to_pixels(images: jax.Array, levels: int) -> jax.Array:
    """Bytes to pixels in [0, 1], float32."""
    return images.astype(jnp.float32) / levels


def random_crop(key: jax.Array, images: jax.Array, padding: int) -> jax.Array:
    """Crops each image at random from itself with a border of zeros.

    Args:
      key: random key.
      images: of shape [n, height, width, channels].
      padding: width of the border; 0 changes nothing.

    Returns:
      Array shaped like `images`.
    """
    if padding == 0:
        return images
    border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    offsets = jax.random.randint(key, (len(images), 2), 0, 2 * padding + 1)
    shape = images.shape[1:]

    def crop(image: jax.Array, offset: jax.Array) -> jax.Array:
        return lax.dynamic_slice(image, (offset[0], offset[1], 0), shape)

    return jax.vmap(crop)(jnp.pad(images, border), offsets)


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image left to right with probability one half."""
    mirrored = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)
