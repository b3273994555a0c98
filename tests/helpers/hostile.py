"""A hostile execution: every choice that docs/guarantees.md leaves open, at random.

Float64 operations one by one, rounded to nearest. Sums are taken in random order, with
or without fused multiply-add; subnormal numbers are kept, or flushed as operands and as
results; elementary functions err by up to 5 u besides their own error.
"""

import math
import sys
from fractions import Fraction

import numpy as np

from helpers.oracle import met
from lipjax.certify import Activation, Convolution, Flatten
from lipjax.certify.network import Linear

LEAST_NORMAL = sys.float_info.min
U = 2.0**-53


def fma(a, b, c):
    """a b + c, rounded once: exact rational arithmetic."""
    if a and b and math.isfinite(a * b + c):
        return float(Fraction(a) * Fraction(b) + Fraction(c))
    return a * b + c


class Hostile:
    """One way to execute networks.

    Attributes:
      flush: "none", "all" or "random" subnormal numbers become zero.
      fused: products are added without being rounded.
      shift: error of the elementary functions, in u; None for a random one each.
      largest: norm of the largest iterate of Horner's rule in the last convolution.
    """

    def __init__(self, rng, flush=None, fused=None):
        """What is left out is drawn."""
        self.random = rng
        self.flush = flush or rng.choice(["none", "all", "random"])
        self.fused = rng.random() < 0.5 if fused is None else fused
        self.shift = rng.choice([-5.0, 0.0, 4.0, None])
        self.reciprocal = rng.random() < 0.5
        self.largest = 0.0

    def keep(self, x):
        """The number, or zero if it is subnormal and flushed."""
        if -LEAST_NORMAL < x < LEAST_NORMAL and self.flush != "none":
            if self.flush == "all" or self.random.random() < 0.5:
                return 0.0
        return x

    def times(self, a, b):
        return self.keep(self.keep(a) * self.keep(b))

    def plus(self, a, b):
        return self.keep(self.keep(a) + self.keep(b))

    def dot(self, terms):
        """The sum of products a b, in random order."""
        terms = list(terms)
        self.random.shuffle(terms)
        if not self.fused and len(terms) > 2 and self.random.random() < 0.5:
            middle = self.random.randrange(1, len(terms))
            return self.plus(self.dot(terms[:middle]), self.dot(terms[middle:]))
        total = self.times(*terms[0])
        for a, b in terms[1:]:
            if self.fused:
                total = self.keep(fma(self.keep(a), self.keep(b), self.keep(total)))
            else:
                total = self.plus(total, self.times(a, b))
        return total

    def elementary(self, function, *arguments):
        value = function(*map(self.keep, arguments))
        shift = self.random.uniform(-5, 4) if self.shift is None else self.shift
        return self.keep(value * (1 + shift * U))

    def normalize(self, network, x):
        """(x - mean) / std of an image [h, w, c]."""
        mean, std = np.asarray(network.mean).tolist(), np.asarray(network.std).tolist()
        result = np.zeros(x.shape)
        for place, value in np.ndenumerate(x):
            shifted = self.plus(float(value), -mean[place[-1]])
            spread = self.keep(std[place[-1]])
            quotient = (
                shifted * self.keep(1 / spread) if self.reciprocal else shifted / spread
            )
            result[place] = self.keep(quotient)
        return result

    def features(self, network, x, visit=None):
        """The features [D] of an image; `visit` sees each layer, its input, output."""
        z = self.normalize(network, x)
        for layer in network.layers:
            before, z = z, self.layer(layer, z)
            if visit:
                visit(layer, before, z, self.largest)
        return z.ravel()

    def layer(self, layer, z):
        """The output of a layer at z [h, w, c]."""
        if isinstance(layer, Flatten):
            return z.reshape(1, 1, -1)
        if isinstance(layer, Activation):
            return self.activation(layer, z)
        (h, w, c), s = z.shape, layer.stride
        h, w = h // s, w // s
        z = z.reshape(h, s, w, s, c).transpose(0, 2, 4, 1, 3).reshape(h, w, -1)
        if isinstance(layer, Convolution):
            return self.plain_convolution(layer, z)
        return self.convolution(layer, z)

    def plain_convolution(self, layer, z):
        kernel, bias = np.asarray(layer.kernel), np.asarray(layer.bias).tolist()
        h, w, _ = z.shape
        terms = {
            place: [(1.0, bias[place[-1]])] for place in np.ndindex(h, w, len(bias))
        }
        for p, q, i, j, r, s in met(layer, h, w):
            for o in range(len(bias)):
                taps = kernel[i, j, :, o].tolist()
                terms[p, q, o] += zip(taps, z[r, s].tolist(), strict=True)
        result = np.zeros((h, w, len(bias)))
        for place, products in terms.items():
            result[place] = self.dot(products)
        return result

    def convolution(self, layer, z):
        (h, w, _), width = z.shape, layer.kernel.shape[2]
        z = np.pad(z, [(0, 0), (0, 0), (0, width - z.shape[-1])])
        a, bias = layer.coefficients, np.asarray(layer.bias).tolist()
        half, kernel = len(layer.kernel) // 2, np.asarray(layer.kernel)
        result, norms = np.zeros_like(z), []
        for j in range(len(a) - 1, -1, -1):
            new = np.zeros_like(z)
            for p, q, o in np.ndindex(z.shape):
                terms = [(a[j], z.item(p, q, o))]
                if j < len(a) - 1:
                    for r, t in np.ndindex(h, w):
                        if max(abs(r - p), abs(t - q)) <= half:
                            tap = kernel[half + r - p, half + t - q, :, o].tolist()
                            terms += zip(tap, result[r, t].tolist(), strict=True)
                new[p, q, o] = self.dot(terms)
            result = new
            norms.append(float(np.linalg.norm(result)))
        self.largest = max(norms)
        result = result[..., : len(bias)]
        for place, value in np.ndenumerate(result):
            result[place] = self.plus(float(value), bias[place[-1]])
        return result

    def activation(self, layer, z):
        first, second = np.split(z, 2, axis=-1)
        angles = [np.asarray(t).tolist() for t in layer.angles]
        parts = []
        for place, a in np.ndenumerate(first):
            own = [t[place[-1]] for t in angles]
            parts.append(getattr(self, layer.kind)(float(a), second.item(place), *own))
        parts = np.array(parts).reshape(*first.shape, -1)
        return np.concatenate([parts[..., k] for k in range(parts.shape[-1])], axis=-1)

    def maxmin(self, a, b):
        a, b = self.keep(a), self.keep(b)
        return max(a, b), min(a, b)

    def max(self, a, b):
        return (max(self.keep(a), self.keep(b)),)

    def turn(self, t):
        return self.elementary(math.sin, t), self.elementary(math.cos, t)

    def reflected(self, a, b, t):
        s, c = self.turn(t)
        return self.dot([(a, c), (b, s)]), self.dot([(a, s), (b, -c)])

    def householder(self, a, b, theta):
        s, c = self.turn(theta / 2)
        if self.random.random() < 0.5:
            keep = self.times(a, s) <= self.times(b, c)
        else:
            keep = self.dot([(a, s), (-b, c)]) <= 0
        return (a, b) if keep else self.reflected(a, b, theta)

    def projection(self, a, b, theta):
        s, c = self.turn(min(max(theta, 0.0), math.pi) / 2)
        b = abs(b)
        if self.dot([(a, c), (b, s)]) >= 0:
            return (self.dot([(b, c), (-a, s)]),)
        return (self.keep(math.sqrt(self.dot([(a, a), (b, b)]))),)

    def householder2(self, a, b, *angles):
        t0, t1, t2 = (min(max(t, 0.0), 2 * math.pi) for t in angles)
        phi = self.plus(self.elementary(math.atan2, b, a), -t0 / 2) % (2 * math.pi)
        if phi < t1 / 2:
            return a, b
        if phi < self.plus(t1, t2) / 2:
            return self.reflected(a, b, self.plus(t0, t1))
        if phi < math.pi + t2 / 2:
            s, c = self.turn(t2)
            return self.dot([(a, c), (b, s)]), self.dot([(b, c), (-a, s)])
        return self.reflected(a, b, t0)

    def logits(self, head, f):
        """The logits of features [D]."""
        if isinstance(head, Linear):
            return self.affine(f.tolist(), head.kernel, head.bias)
        hidden = self.affine(f.tolist(), head.hidden_kernel, head.hidden_bias)
        soft = [self.softplus(z) for z in hidden]
        return self.affine(soft, head.output_kernel, head.output_bias)

    def affine(self, values, kernel, bias):
        columns, bias = np.asarray(kernel).T.tolist(), np.asarray(bias).tolist()
        return [
            self.dot([*zip(values, column, strict=True), (1.0, b)])
            for column, b in zip(columns, bias, strict=True)
        ]

    def softplus(self, z):
        small = self.elementary(math.exp, -abs(z))
        return self.plus(max(z, 0.0), self.elementary(math.log1p, small))
