"""The model card of an exported network, and its loader."""

from __future__ import annotations

import json
from pathlib import Path

import jax

import lipjax
from lipjax.certify import Network

from ..certification.certified_run import PROOF, is_of, proof_hashes
from ..common.errors import UserError
from ..reporting.summary import RADIUS_NAMES
from ..reporting.words import rounded_up
from ..training.run_folder import RunFolder

LOADER = '''\
"""Classifies images with the exported network. Needs jax and flatbuffers alone."""

from pathlib import Path

from jax import export
from jax import numpy as jnp

network = export.deserialize(Path(__file__).with_name("network.jax").read_bytes())


def classify(images):
    """Of images [n, h, w, c] in [0, 1]: logits, prediction, runner_up, radius (l2)."""
    return network.call(jnp.asarray(images, jnp.float32))
'''


_FILES = """\
## Files

| file | contents |
|---|---|
| network.jax | StableHLO, for CPU, CUDA and TPU, for any number of images |
| network.onnx | the same for ONNX runtimes: input `images`, outputs as named below |
| load.py | reads network.jax, with jax and flatbuffers: `from load import classify` |
| weights.safetensors | parameters, and state of the power iterations, by their paths |
| settings.json | the settings of the training and of the network |"""


def card(folder: RunFolder, network: Network, constant: float) -> str:
    """The model card: what the network is, what is proven of it, and how to check it.

    Args:
      folder: of the run.
      network: its exact network, of the exported weights.
      constant: proven Lipschitz constant of the exported network's features.
    """
    config, model = folder.config, folder.model
    size = "x".join(map(str, model.image_shape))
    shape = ", ".join(map(str, model.image_shape))
    names = f": {', '.join(folder.classes)}" if folder.classes else ""
    depth = model.stages * model.layers_per_stage
    kind = config.data.partition(":")[0]
    parts = (
        f"# LipConvNet-{depth}, {model.num_classes} classes, {size} images",
        f"Exported by lipjax {lipjax.__version__}, jax {jax.__version__}. "
        f"{model.num_classes} classes{names}.\n"
        f"Trained on {kind}: {config.epochs} epochs, seed {config.seed}, width "
        f"{model.width}, {model.conv} convolutions,\n"
        f"{model.activation}, {model.pooling} pooling, {model.head} head.",
        _FILES,
        "## What the outputs mean",
        f"Images are float32 arrays [n, {shape}] of pixels in [0, 1]. `prediction` is "
        "the class,\n`runner_up` the class that is nearest to replacing it, and no "
        "image within `radius` (l2, in\nthese pixels) gets another prediction. The "
        f"features are {rounded_up(constant)}-Lipschitz, proven\n"
        "of the numbers in both files. **That holds in exact arithmetic: the rounding "
        "of float32 is\nnot counted.** The certificates below count all rounding, of "
        "float64 executions of the\nrun's network.",
        "## Certified robust accuracy",
        _figures(folder.path, network),
    )
    return "\n\n".join(parts) + "\n"


def _figures(path: Path, network: Network) -> str:
    """The proven figures, and how to check them, if they are of this network."""
    try:
        if not is_of((path / "model.npz").read_bytes(), network):
            return "The run's certificates are of other weights: certify it again."
        test = json.loads((path / "test.json").read_text())
        hashes = proof_hashes(path)
        rows = sum(1 for _ in (path / PROOF[0]).open("rb"))
    except FileNotFoundError:
        return "The run has no certificates: nothing is proven of its test images."
    except ValueError as error:
        raise UserError(f"{path}: its certificates are damaged: {error}") from error
    names = ("clean", *RADIUS_NAMES, "mean radius")
    values = [f"{100 * test[n]:.2f}" for n in ("accuracy", *RADIUS_NAMES)]
    lines = [
        f"Percent of {rows:,} test images that are classified correctly with a proven",
        "l2 radius above the given one.",
        "",
        "| " + " | ".join(names) + " |",
        "|" + "---|" * len(names),
        "| " + " | ".join([*values, f"{test['mean_radius']:.4f}"]) + " |",
        "",
        "The proof is in three files of the run, which lipjax/verify.py checks with",
        "NumPy alone:",
        "",
        "    python verify.py certificates.jsonl --model model.npz --data images.npz",
        "",
        "| file | SHA-256 |",
        "|---|---|",
        *(f"| {name} | {digest} |" for name, digest in hashes),
    ]
    return "\n".join(lines)
