"""RandAugment: random operations on images, inside the jitted step.

The geometric operations of an image are composed to one affine map, and the image is
warped once, after its photometric operations.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from lipjax import ops

GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")

_SHEAR, _TRANSLATION, _ANGLE, _FACTOR = 0.3, 150 / 331, jnp.pi / 6, 0.9
"""At amount 1: a slope, a share of the side, an angle, and a factor's change."""

_LEVELS = 255


def rand_augment(
    key: jax.Array,
    images: jax.Array,
    operations: int,
    *,
    magnitude: float = 0.3,
    probability: float = 0.5,
) -> jax.Array:
    """Applies random operations, one after the other, to some of the images.

    Each image draws its operations anew, all equally likely: the identity, one of
    `GEOMETRIC` or one of `PHOTOMETRIC`. The sign of an operation is random.

    Args:
      key: random key.
      images: of shape [n, height, width, channels], in [0, 1].
      operations: how many.
      magnitude: of the operations, in [0, 1]: 9 of 30 as published.
      probability: of an image to be changed at all.

    Returns:
      Array shaped like `images`, in [0, 1].

    References: Cubuk et al., RandAugment: practical automated data augmentation with a
    reduced search space, 2020.

    Example:
      >>> x = jnp.zeros((2, 4, 4, 3))
      >>> rand_augment(jax.random.key(0), x, 2).shape
      (2, 4, 4, 3)
    """
    n, height, width, _ = images.shape
    which, *keys = jax.random.split(key, operations + 1)
    x, affine = images, jnp.broadcast_to(jnp.eye(3), (n, 3, 3))
    names = ("identity", *GEOMETRIC, *PHOTOMETRIC)
    for each in keys:
        draw, sign = jax.random.split(each)
        drawn = jax.random.randint(draw, (n,), 0, len(names))
        amount = magnitude * jax.random.rademacher(sign, (n,), jnp.float32)
        for name, operation in PHOTOMETRIC.items():
            chosen = (drawn == names.index(name))[:, None, None, None]
            x = jnp.where(chosen, operation(x, amount), x)
        amounts = {
            name: jnp.where(drawn == names.index(name), amount, 0) for name in GEOMETRIC
        }
        after = affine_maps(height, width, **amounts)
        affine = ops.contract("nij,njk->nik", affine, after)
    changed = jax.random.bernoulli(which, probability, (n, 1, 1, 1))
    return jnp.where(changed, warp(x, affine), images)


def affine_maps(
    height: int,
    width: int,
    shear_x: jax.Array,
    shear_y: jax.Array,
    translate_x: jax.Array,
    translate_y: jax.Array,
    rotate: jax.Array,
) -> jax.Array:
    """Where the pixels of a moved image lie in the image, for amounts [n] in [-1, 1].

    Returns:
      Matrices [n, 3, 3] that take (row, column, 1), from the image's centre, of a pixel
      to those of its source.

    Example:
      >>> zero, one = jnp.zeros(1), jnp.ones(1)
      >>> affine_maps(2, 331, zero, zero, one, zero, zero)[0, :2].round()
      Array([[  1.,   0.,   0.],
             [  0.,   1., 150.]], dtype=float32)
    """
    angle = _ANGLE * rotate
    cos, sin, zero = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
    rows = (
        (cos, sin + _SHEAR * shear_y, _TRANSLATION * height * translate_y),
        (_SHEAR * shear_x - sin, cos, _TRANSLATION * width * translate_x),
        (zero, zero, zero + 1),
    )
    return jnp.stack([jnp.stack(row, axis=1) for row in rows], axis=1)


def warp(images: jax.Array, maps: jax.Array) -> jax.Array:
    """Images [n, h, w, c] at the sources of their pixels; bilinear, zero outside.

    Args:
      images: of shape [n, h, w, c].
      maps: of shape [n, 3, 3], as from `affine_maps`.

    Example:
      >>> mirror = jnp.diag(jnp.array([1.0, -1.0, 1.0]))[None]
      >>> warp(jnp.array([[[[1.0], [2.0]]]]), mirror)[0, 0, :, 0]
      Array([2., 1.], dtype=float32)
    """
    _, height, width, _ = images.shape
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2])
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    points = jnp.stack([rows - centre[0], columns - centre[1]], axis=-1)
    source = ops.contract("nij,hwj->nihw", maps[:, :2, :2], points)
    source += (maps[:, :2, 2] + centre)[:, :, None, None]

    def of_channel(image: jax.Array, at: jax.Array) -> jax.Array:
        return map_coordinates(image, [at[0], at[1]], order=1)

    of_image = jax.vmap(of_channel, in_axes=(2, None), out_axes=2)
    return jax.vmap(of_image)(images, source)


def brightness(x: jax.Array, amount: jax.Array) -> jax.Array:
    """Mixes images [n, h, w, c] with black, by amounts [n]; negative: darker."""
    return _mixed(x, jnp.zeros_like(x), amount)


def color(x: jax.Array, amount: jax.Array) -> jax.Array:
    """Mixes images with their grey values; negative: less colour."""
    return _mixed(x, _grey(x), amount)


def contrast(x: jax.Array, amount: jax.Array) -> jax.Array:
    """Mixes images with their mean grey value; negative: less contrast."""
    return _mixed(x, jnp.mean(_grey(x), axis=(1, 2, 3), keepdims=True), amount)


def sharpness(x: jax.Array, amount: jax.Array) -> jax.Array:
    """Mixes images with their 3x3 means, of the centre 5-fold; negative: softer."""
    height, width = x.shape[1:3]
    around = [
        x[:, i : i + height - 2, j : j + width - 2] for i in range(3) for j in range(3)
    ]
    inner = x[:, 1:-1, 1:-1]
    means = (sum(around) + 4 * inner) / 13
    return _mixed(x, x.at[:, 1:-1, 1:-1].set(means), amount)


def posterize(x: jax.Array, amount: jax.Array) -> jax.Array:
    """Clears the lowest bits of 8, at |amount| 1 four of them."""
    step = 2.0 ** jnp.round(4 * jnp.abs(amount))[:, None, None, None]
    cleared = jnp.floor(jnp.round(x * _LEVELS) / step) * step / _LEVELS
    return jnp.where(step > 1, cleared, x)


def solarize(x: jax.Array, amount: jax.Array) -> jax.Array:
    """Inverts the pixels above 1 - |amount|."""
    threshold = 1 - jnp.abs(amount)[:, None, None, None]
    return jnp.where(x > threshold, 1 - x, x)


def autocontrast(x: jax.Array, amount: jax.Array) -> jax.Array:
    """Stretches each channel to [0, 1], whatever the amount; constant ones stay."""
    low, high = (f(x, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
    wide = high > low
    return jnp.where(wide, (x - low) / jnp.where(wide, high - low, 1), x)


def equalize(x: jax.Array, amount: jax.Array) -> jax.Array:
    """Spreads each channel's 8-bit histogram evenly over [0, 1]; constant ones stay.

    A value becomes the share of the pixels at or below it, among those that are not at
    the channel's lowest value.
    """
    n, height, width, channels = x.shape
    level = jnp.round(x * _LEVELS).astype(jnp.int32)

    def of_channel(level: jax.Array) -> jax.Array:
        counts = jnp.zeros(_LEVELS + 1, jnp.int32).at[level].add(1)
        lowest = counts[jnp.min(level)]
        below = jnp.cumsum(counts)[level] - lowest
        return below / jnp.maximum(level.size - lowest, 1)

    flat = level.transpose(0, 3, 1, 2).reshape(n * channels, height * width)
    spread = jax.vmap(of_channel)(flat).reshape(n, channels, height, width)
    low, high = (f(level, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
    return jnp.where(high > low, spread.transpose(0, 2, 3, 1).astype(x.dtype), x)


PHOTOMETRIC = {
    operation.__name__: operation
    for operation in (
        *(brightness, color, contrast, sharpness),
        *(posterize, solarize, autocontrast, equalize),
    )
}
"""By name: functions of images [n, h, w, c] in [0, 1] and amounts [n] in [-1, 1]."""


def _mixed(x: jax.Array, other: jax.Array, amount: jax.Array) -> jax.Array:
    """x moved from `other` by the factor 1 + 0.9 amount, clipped to [0, 1]."""
    factor = 1 + _FACTOR * amount[:, None, None, None]
    return jnp.clip(other + factor * (x - other), 0, 1)


def _grey(x: jax.Array) -> jax.Array:
    """Grey values [n, h, w, 1]: luma of three channels (ITU-R 601), or the mean."""
    if x.shape[-1] != 3:
        return jnp.mean(x, axis=-1, keepdims=True)
    return jnp.sum(x * jnp.array([0.299, 0.587, 0.114]), axis=-1, keepdims=True)
