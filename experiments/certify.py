"""Certifies the test images of a run, or your own images, and writes the proof.

    python -m experiments.certify --run=runs/NAME
    python -m experiments.certify --run=runs/NAME --images=photo.png,folder
    python lipjax/verify.py RUN/certificates.jsonl --model RUN/model.npz \\
        --data RUN/images.npz

The first command prints the certified robust accuracy at the six standard radii. Radii
are l2, in pixels of [0, 1], and proven, rounding included: see docs/guarantees.md. The
last command checks the proof with NumPy alone. The first one writes, in RUN:

  certificates.jsonl  a line per image: index, label, prediction, radius, and
                      the proof against every other class
  model.npz           the exact network that the certificates hold for
  images.npz          the images
  test.json           the printed figures
  radii.png           accuracy against radius

With --images, files in any format that Pillow reads are turned upright, cut to the
network's proportions and resized, and certified as the network then sees them: class,
runner-up and proven radius, and the nearest change that an attack finds. RUN/images has
their certificates, images.json and a picture of each: image, changed image, difference.
A file that cannot be read is told in a line; the exit code is then 2.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from .certification.certificates import certify
from .certification.own_images import certify_images
from .common.flags import run
from .training.run_folder import RunFolder

FLAGS = flags.FLAGS


def main() -> None:
    folder = RunFolder.open(Path(FLAGS.run))
    if FLAGS.images:
        out = Path(FLAGS.out or folder.path / "images")
        if not certify_images(folder, FLAGS.checkpoint, FLAGS.images, out):
            sys.exit(2)
        return
    data = folder.load_data(FLAGS.data, FLAGS.data_dir)
    state = folder.checkpoints().restore(FLAGS.checkpoint).state
    certify(folder, state, data, FLAGS.test_images)


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
        "test_images", None, "how many test images, evenly spaced; default: all", 1
    )
    flags.DEFINE_list("images", [], "image files and folders of them, instead of these")
    flags.DEFINE_string("out", None, "folder for their certificates; else RUN/images")
    run(main, __doc__ or "")
