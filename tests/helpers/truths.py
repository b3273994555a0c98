"""What layers and heads truly do, from below: against what is proven of them.

Every value is attained at some point, so that it is at most the true norm, gain or
curvature: no eigenvalue routine has to be trusted.
"""

import copy

import numpy as np
from flint import arb

from helpers import oracle
from lipjax import verify as checker
from lipjax.certify import (
    Convolution,
    Flatten,
    SkewConvolution,
    absolute_norm_bound,
    pair_curvature_bound,
)
from lipjax.certify.convolutions import acting_taps
from lipjax.certify.network import Linear


@oracle.exactly
def ratios(subject, random):
    """Ratios (attained) / (claimed), of norms, gains and curvatures."""
    found = {}

    def record(name, size, bound):
        ratio = oracle.ratio(size, arb(bound)) if bound or not size.is_zero() else 0.0
        found[name] = max(found.get(name, 0.0), ratio)

    if subject.bound:
        for layer, h, w, bound in convolutions_of(
            subject.network, subject.bound.layers
        ):
            kernel = np.asarray(layer.kernel)
            if isinstance(layer, Convolution):
                j = oracle.plain_jacobian(layer, h, w)
                record("norm of a plain J", attained_norm(j), bound.lipschitz)
                continue
            j = oracle.jacobian(kernel, h, w)
            record("norm of J", attained_norm(j), bound.norm)
            absolute = absolute_norm_bound(acting_taps(kernel, h, w))
            record("norm of |J|", attained_norm(np.abs(j)), absolute)
            gain = attained_gain(layer.coefficients, bound.norm)
            record("gain", gain, bound.lipschitz)
    head = subject.network.head
    if subject.model and not isinstance(head, Linear):
        y, t = random.sample(range(len(head.output_bias)), 2)
        true = attained_curvature(head, y, t)
        record("curvature", true, float(subject.model.curvatures[y, t]))
        record("curvature alone", true, pair_curvature_bound(head, y, t))
    return found


@oracle.exactly
def forged_ratios(subject, random):
    """The same for a claim of one layer that was lowered and is accepted still."""
    layers = [a for a in subject.model.layers if a.kind in checker.PARTS]
    if not layers:
        return {}
    index = random.randrange(len(layers))
    layer = copy.deepcopy(layers[index])
    which = random.randrange(len(layer.claims))
    layer.claims[which] *= 1 - 2.0 ** -random.randint(1, 50)
    try:
        with np.errstate(all="ignore"), checker.reading("layer", checker.Rejected):
            checker.prove_convolution(layer)
    except checker.Rejected:
        return {}
    found = convolutions_of(subject.network, subject.model.layers)
    convolution, *sides, _ = found[index]
    norm, gain = layer.claims.tolist()[0], layer.claims.tolist()[-1]
    if isinstance(convolution, Convolution):
        j = oracle.plain_jacobian(convolution, *sides)
        return {"forged plain norm": oracle.ratio(attained_norm(j), arb(norm))}
    if which:
        true, claim = attained_gain(layer.coefficients, norm), gain * checker.UP
    else:
        j = oracle.jacobian(np.asarray(convolution.kernel), *sides)
        true, claim = attained_norm(j), norm
    return {f"forged {('norm', 'lipschitz')[which]}": oracle.ratio(true, arb(claim))}


def convolutions_of(network, bounds):
    """The convolutions, with their height and width after the stride, and bounds."""
    (height, width, _), found = network.image_shape, []
    for layer, bound in zip(network.layers, bounds, strict=True):
        if isinstance(layer, (Convolution, SkewConvolution)):
            height, width = height // layer.stride, width // layer.stride
            found.append((layer, height, width, bound))
        elif isinstance(layer, Flatten):
            height = width = 1
    return found


def attained_norm(matrix):
    """||M v|| / ||v|| for the v that maximises it, by float64."""
    size = np.abs(matrix).max()
    if size == 0:
        return arb(0)
    scaled = np.ldexp(matrix, -int(np.frexp(size)[1]))
    v = oracle.balls(np.linalg.svd(scaled)[2][0])
    image = [
        sum((m * u for m, u in zip(row, v, strict=True)), arb(0))
        for row in oracle.balls(matrix)
    ]
    return below(oracle.norm(image) / oracle.norm(v))


def below(ball):
    """The lower end: no less than it is attained."""
    return ball.lower() if ball.is_finite() else ball


def attained_gain(coefficients, end, points=24):
    """The largest |p(i theta)| that is found for 0 <= theta <= end."""
    a, end = [arb(c) for c in coefficients], arb(end)

    def gain(share):
        t = end * arb(share)
        real = imaginary = arb(0)
        for c in reversed(a):
            real, imaginary = c - imaginary * t, real * t
        return below(oracle.norm([real, imaginary]))

    if len(a) == 1:
        return abs(a[0])
    shares = [k / points for k in range(points + 1)]
    best = max(shares, key=gain)
    step = 1 / points
    for _ in range(30):
        step /= 2
        near = [s for s in (best - step, best + step) if 0 <= s <= 1]
        best = max([best, *near], key=gain)
    return gain(best)


def attained_curvature(head, y, t):
    """v^T W1 diag(max(W2_t - W2_y, 0)) W1^T v / (4 ||v||^2) for the best v."""
    w1, w2 = np.asarray(head.hidden_kernel), np.asarray(head.output_kernel)
    with np.errstate(all="ignore"):
        lost = np.maximum(w2[:, t] - w2[:, y], 0)
        root = w1 * np.sqrt(lost)
        root = root[:, np.isfinite(root).all(0)]
    size = np.abs(root).max(initial=0)
    if size == 0:
        return arb(0)
    v = oracle.balls(np.linalg.svd(np.ldexp(root, -int(np.frexp(size)[1])))[0][:, 0])
    weights = [
        (p - q).max(arb(0)) for p, q in zip(*oracle.balls(w2[:, [t, y]].T), strict=True)
    ]
    products = v @ oracle.balls(w1)
    value = sum((d * p * p for d, p in zip(weights, products, strict=True)), arb(0))
    return below(value / (4 * oracle.norm(v) ** 2))
