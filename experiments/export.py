"""Exports a run's network for programs that do not have lipjax.

    python -m experiments.export --run=runs/NAME --out=exported

Writes, in OUT:

  network.jax          StableHLO for CPU, CUDA and TPU and any number of images: logits,
                       prediction, runner-up and radius
  load.py              its loader, which needs jax and flatbuffers alone
  network.onnx         the same as an ONNX model, for onnxruntime and others
  weights.safetensors  parameters and state
  settings.json        of the training and the network
  README.md            a model card: what the outputs mean, the proven figures, the
                       hashes of the certificate files and how to check them

The radius is proven in exact arithmetic; the rounding of float32 is not counted.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from .common.flags import run
from .exporting.export_run import export_run
from .training.run_folder import RunFolder

FLAGS = flags.FLAGS


def main() -> None:
    export_run(RunFolder.open(Path(FLAGS.run)), FLAGS.checkpoint, Path(FLAGS.out))


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "folder of the run", required=True)
    flags.DEFINE_string("out", None, "a new folder", required=True)
    flags.DEFINE_enum(
        "checkpoint", "last", ["last", "best"], "which weights of the run"
    )
    run(main, __doc__ or "")
