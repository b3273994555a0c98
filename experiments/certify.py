"""Certifies the test images of a run, and writes the proof to files.

    python -m experiments.certify --run=runs/NAME
    python lipjax/verify.py RUN/certificates.jsonl --model RUN/model.npz \\
        --data RUN/images.npz

The first command prints the certified robust accuracy at the six standard radii. Radii
are l2, in pixels of [0, 1], and proven, rounding included: see docs/guarantees.md. The
second command checks the proof with NumPy alone. The first one writes, in RUN:

  certificates.jsonl  a line per image: index, label, prediction, radius, and
                      the proof against every other class
  model.npz           the exact network that the certificates hold for
  images.npz          the images
  test.json           the printed figures
  radii.png           accuracy against radius
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from .certification.certificates import certify
from .common.flags import run
from .training.run_folder import RunFolder

FLAGS = flags.FLAGS


def main() -> None:
    folder = RunFolder.open(Path(FLAGS.run))
    data = folder.load_data(FLAGS.data, FLAGS.data_dir)
    state = folder.checkpoints().restore(FLAGS.checkpoint).state
    certify(folder, state, data, FLAGS.images)


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "folder of the run", required=True)
    flags.DEFINE_enum(
        "checkpoint", "last", ["last", "best"], "which weights of the run"
    )
    flags.DEFINE_string("data", None, "the data set, if it has moved, as folder:PATH")
    flags.DEFINE_string(
        "data_dir", None, "the folder of prepared data sets, if it has moved"
    )
    flags.DEFINE_integer(
        "images", None, "how many test images, evenly spaced; default: all", 1
    )
    run(main, __doc__ or "")
