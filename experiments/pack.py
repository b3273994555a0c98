"""Packs a folder of images for training from the disk: data larger than memory.

    python -m experiments.pack --images=PATH --out=DIR --side=64
    python -m experiments.train --data=records:DIR

PATH has train/CLASS/FILE and test/CLASS/FILE, in any format that Pillow reads. All
images become RGB. With --side, the largest square in the middle of each image is
resized to side x side pixels (Lanczos). Without it, all images must have one size, and
keep it.

DIR gets array_record files of raw pixels, at most half a GB each, and at last
info.json. Before compression an image of 64x64 takes 12 kB, one of 224x224 150 kB;
reading needs no decoding.

If the program is interrupted, run the same command again: it continues with the first
incomplete file and gives the same bytes. An image that does not decode stops the
program with its name: fix it, and run the same command. Images must not be added,
removed or changed in between; to do so, choose a new DIR. To pack an archive, unpack it
first.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from .common.commands import command
from .common.errors import UserError
from .common.flags import run
from .data.packing import pack

FLAGS = flags.FLAGS


def main() -> None:
    if not FLAGS.images or not FLAGS.out:
        raise UserError("pass what to pack and where to: --images=PATH --out=DIR")
    out = Path(FLAGS.out).expanduser()
    images = Path(FLAGS.images).expanduser()
    info = pack(images, out, FLAGS.side, FLAGS.shard_images)
    train, test = (len(info.labels(split)) for split in ("train", "test"))
    size = sum(size for split in info.shards.values() for _, size in split)
    print(
        f"{out}: {train} training and {test} test images of {len(info.class_names)} "
        f"classes, {'x'.join(map(str, info.image_shape))}, {size / 1e6:.1f} MB"
    )
    print(f"Next: {command('train')} --data=records:{out}")


if __name__ == "__main__":
    flags.DEFINE_string("images", None, "folder with train/CLASS/* and test/CLASS/*")
    flags.DEFINE_string("out", None, "folder to write")
    flags.DEFINE_integer(
        "side", None, "side of the images in pixels; default: unchanged", 1
    )
    flags.DEFINE_integer("shard_images", None, "images per file; default: half a GB", 1)
    run(main, __doc__ or "")
