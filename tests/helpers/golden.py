"""Golden files: what the published PyTorch code computes, in our layout."""

import numpy as np

from lipjax import ops

# The published numbers are float32: u = 6e-8. An evaluation is at most 14 convolutions
# of dot products of at most 150 terms; rounding errors add up like a random walk, to
# about sqrt(14 * 150) u = 3e-6 of the norm. The factor 4 leaves room for the scale,
# whose vectors are stored in float32 too.
FLOAT32 = 1.2e-5

NETWORKS = {
    "crc_full_lip1_hh2_5": ("hh2", "lip1", "crc_full"),
    "crc_full_max_maxmin_10": ("maxmin", "max", "crc_full"),
    "lln_lip1_hh1_10": ("hh1", "lip1", "lln"),
    "ortho_max_maxmin_5": ("maxmin", "max", "ortho"),
}
"""Golden networks `lipconvnet_NAME`, and their activation, pooling and head."""


def published_names(name):
    """What reads a golden network's state dict."""
    kinds = ("soc", *NETWORKS[name])
    return dict(zip(("conv", "activation", "pooling", "head"), kinds, strict=True))


def published_state(file):
    """The state dict among the arrays of a golden file."""
    return {k.removeprefix("param/"): v for k, v in file.items() if "param/" in k}


def load(path):
    """All arrays of a file, floating-point ones in float64."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    return {
        name: a.astype(np.float64) if a.dtype == np.float32 else a
        for name, a in arrays.items()
    }


def nhwc(x):
    return np.moveaxis(x, 1, -1)


def hwio(kernel):
    return kernel.transpose(2, 3, 1, 0)


def singular_vectors(arrays, prefix):
    """The four published (u, v), each of the unfolding in `MATRIX`.

    The second and fourth belong to the transposed unfoldings, which skewness turns
    into ours: A[o, i, r, s] = -A[i, o, -r, -s].
    """
    u1, u2, u3, u4 = (arrays[f"{prefix}_u{n}"] for n in (1, 2, 3, 4))
    v1, v2, v3, v4 = (arrays[f"{prefix}_v{n}"] for n in (1, 2, 3, 4))
    vectors = (
        (u1[0, :, 0, :].T, v1[:, 0, :, 0].T),
        (v2[:, 0, 0, ::-1].T, -u2[0, :, ::-1, 0].T),
        (u3[0].transpose(1, 2, 0), v3.reshape(1, -1)),
        (-u4[:, 0, ::-1, ::-1].transpose(1, 2, 0), v4.reshape(1, -1)),
    )
    return [(np.ravel(u), v) for u, v in vectors]


MATRIX = (0, 0, 1, 1)  # our unfolding of each published (u, v)


def estimates(arrays, prefix):
    """The four published estimates, from the stored vectors."""
    matrices = ops.unfoldings(skew(arrays, prefix))
    vectors = singular_vectors(arrays, prefix)
    return [
        float(ops.singular_value_estimate(matrices[m], uv))
        for m, uv in zip(MATRIX, vectors, strict=True)
    ]


def skew(arrays, prefix):
    """The skew kernel before division by its scale."""
    return np.asarray(ops.skew_kernel(hwio(arrays[f"{prefix}weight"])))


def soc_variables(arrays, prefix="param/"):
    """Variables of our layer: of two published (u, v), those of the lower estimate."""
    vectors, found = singular_vectors(arrays, prefix), estimates(arrays, prefix)
    chosen = tuple(vectors[min((n, n + 1), key=found.__getitem__)] for n in (0, 2))
    return {
        "params": {
            "kernel": hwio(arrays[f"{prefix}weight"]),
            "bias": arrays[f"{prefix}bias"],
        },
        "spectral": {"kernel_vectors": chosen},
    }


def bcop_params(arrays):
    """Parameters of our layer, of one published block convolution."""
    names = {"matrices": "conv_matrices", "bias": "bias"}
    return {ours: arrays[f"param/{theirs}"] for ours, theirs in names.items()}


def cayley_params(arrays):
    """Parameters of our layer, of one published Cayley convolution."""
    kernel = hwio(arrays["param/weight"])
    return {"kernel": kernel} | {n: arrays[f"param/{n}"] for n in ("alpha", "bias")}
