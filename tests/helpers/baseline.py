"""Golden files and published networks for the baseline in PyTorch."""

import torch

from experiments.baseline.soc import skew_kernel, unfoldings
from helpers import golden

VECTORS = ("_u1", "_v1", "_u2", "_v2", "_u3", "_v3", "_u4", "_v4")


def tensors(path):
    """All arrays of a golden file, floating-point ones in float64."""
    return {name: torch.from_numpy(a) for name, a in golden.load(path).items()}


def loaded(module, arrays):
    """The module in double precision with the published entries of a golden file."""
    start = "param/"
    state = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
    module.double().load_state_dict(_from_published(state))
    return module.eval()


def _from_published(state):
    """The state dict of the baseline that corresponds to a published one.

    Every published convolution keeps four singular vector pairs, of unfoldings that are
    equal two by two by skew symmetry. The baseline keeps two, each the one with the
    smaller estimate, so that the smallest of all, the scale, stays the same.
    """
    ours = {}
    for name, value in state.items():
        prefix, _, entry = name.rpartition(".")
        dot = f"{prefix}." if prefix else ""
        if entry == "_u1":
            vectors = [state[f"{dot}{each}"] for each in VECTORS]
            buffers = _buffers(state[f"{dot}weight"], vectors)
            ours |= {f"{dot}{buffer}": vector for buffer, vector in buffers.items()}
        elif entry.startswith("theta"):
            ours[name] = value.flatten()
        elif entry not in VECTORS:
            ours[name] = value
    return ours


def _buffers(weight, vectors):
    """Four buffers. Published vectors 2 and 4 are of transposes, taps flipped."""
    u1, v1, u2, v2, u3, v3, u4, v4 = vectors
    square = ((v1, u1), (-u2.flip(2), v2.flip(3)))
    wide = ((v3, u3), (v4, -u4.flip(2, 3)))
    buffers = {}
    for n, matrix in enumerate(unfoldings(skew_kernel(weight))):
        choices = [(u.flatten(), v.flatten()) for u, v in (square, wide)[n]]
        u, v = min(choices, key=lambda uv: float(uv[0] @ matrix @ uv[1]))
        buffers |= {f"u{n}": u, f"v{n}": v}
    return buffers


def relative_error(actual, expected):
    """||actual - expected|| / ||expected|| in l2."""
    assert actual.shape == expected.shape
    return float((actual - expected).detach().norm() / expected.norm())
