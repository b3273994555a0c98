"""Operators as dense matrices, and the plainest convolution there is."""

import jax
import jax.numpy as jnp
import numpy as np

from lipjax import ops

EPS = np.finfo(np.float64).eps


def normal(seed, *shape):
    """Reproducible standard normal numbers in float64."""
    return np.random.default_rng(seed).standard_normal(shape)


def naive_convolution(x, kernel):
    """Correlation with zero padding of x [n, h, w, i] by definition, tap by tap."""
    half = kernel.shape[0] // 2
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    y = np.zeros((*x.shape[:3], kernel.shape[3]))
    for i, j in np.ndindex(kernel.shape[:2]):
        y += padded[:, i : i + height, j : j + width] @ kernel[i, j]
    return y


def convolution_matrix(kernel, height, width):
    """Jacobian of the convolution by a kernel, from the definition."""
    size = height * width * kernel.shape[2]
    basis = np.eye(size).reshape(size, height, width, -1)
    return naive_convolution(basis, np.asarray(kernel)).reshape(size, -1).T


def naive_circular(x, kernel):
    """Circular correlation of x [n, h, w, i] by definition, the middle tap at 0."""
    y = np.zeros((*x.shape[:3], kernel.shape[3]))
    for i, j in np.ndindex(kernel.shape[:2]):
        offset = (i - kernel.shape[0] // 2, j - kernel.shape[1] // 2)
        y += np.roll(x, [-t for t in offset], (1, 2)) @ kernel[i, j]
    return y


def circular_matrix(kernel, height, width):
    """Jacobian of the circular convolution by a kernel, from the definition."""
    kernel = np.asarray(kernel)
    size = height * width * kernel.shape[2]
    basis = np.eye(size).reshape(size, height, width, -1)
    return naive_circular(basis, kernel).reshape(size, -1).T


def jacobian(f, x):
    """Dense Jacobian of f at x, as a matrix."""
    y = jax.eval_shape(f, x)
    return np.asarray(jax.jit(jax.jacrev(f))(x)).reshape(y.size, x.size)


def polynomial(coefficients, matrix):
    """p(matrix) by Horner's rule."""
    result = coefficients[-1] * np.eye(len(matrix))
    for a in coefficients[-2::-1]:
        result = a * np.eye(len(matrix)) + result @ matrix
    return result


def skew_kernel_of_norm(seed, k, channels, height, width, norm):
    """A random skew kernel whose convolution has the given spectral norm."""
    skew = np.asarray(ops.skew_kernel(normal(seed, k, k, channels, channels)))
    matrix = convolution_matrix(skew, height, width)
    return jnp.asarray(skew * (norm / np.linalg.norm(matrix, 2)))


def relative_error(actual, expected):
    """||actual - expected|| / ||expected|| in l2."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def side_by_side(blocks):
    """The matrix [m, b n] whose blocks [b, m, n] are given."""
    return np.concatenate(list(np.asarray(blocks)), axis=1)


def any_convolution_matrix(kernel, height, width, padding):
    """J of the convolution by any kernel, from the definition: J z for a flat z."""
    rows, columns, channels, out = kernel.shape
    matrix = np.zeros((height, width, out, height, width, channels))
    for p, q, i, j in np.ndindex(height, width, rows, columns):
        y, x = p + i - rows // 2, q + j - columns // 2
        if padding == "circular":
            y, x = y % height, x % width
        if 0 <= y < height and 0 <= x < width:
            matrix[p, q, :, y, x] += kernel[i, j].T
    return matrix.reshape(height * width * out, -1)
