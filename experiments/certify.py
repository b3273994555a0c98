"""Certifies the test images of a finished run, with the proof in files.

    python -m experiments.certify --run=runs/NAME
    python lipjax/verify.py RUN/certificates.jsonl --model RUN/model.npz \\
        --data RUN/images.npz

writes RUN/certificates.jsonl (a line per image: index, label, prediction, radius,
runner_up, and the proof against every other class), RUN/model.npz (the exact network
that they hold for), RUN/images.npz and RUN/radii.png, and prints certified robust
accuracy at the six standard radii. Radii are l2, in pixels of [0, 1], and proven, the
rounding of floating point included: see docs/guarantees.md.
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
    flags.DEFINE_enum("checkpoint", "last", ["last", "best"], "which of its weights")
    flags.DEFINE_string("data", None, "where its data are now; else where they were")
    flags.DEFINE_string("data_dir", None, "the same, for data of tensorflow_datasets")
    flags.DEFINE_integer("images", None, "how many test images, evenly; else all", 1)
    run(main, __doc__ or "")
