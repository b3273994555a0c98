"""Packs a folder of images for training from the disk: data larger than memory.

    python -m experiments.pack --images=PATH --out=DIR --side=64
    python -m experiments.train --data=records:DIR

PATH has train/CLASS/FILE and test/CLASS/FILE, in any format that Pillow reads. All
images become RGB. With --side the largest square in the middle of each is resized to
side x side pixels (Lanczos); without it all images must have one size, and stay as
they are.

DIR gets array_record files of raw pixels (12 kB an image of 64x64, 150 kB of 224x224,
before compression; reading needs no decoding), at most half a GB each, and at last
info.json. Whatever interrupts the program, the same command goes on with the first
file that is not complete, and gives the same bytes. An image that does not decode ends
it, with its name; mend it and run the same command. Images may not be added, removed
or changed in between: that needs a new DIR. Of an archive, pack the unpacked folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tqdm
from absl import flags

from .common.errors import UserError
from .common.files import is_empty, write_json
from .common.flags import run
from .data.packing import pack_shard
from .data.plan import Plan, Shard, make_plan
from .data.shards import INFO, Info, read_info, to_json

FLAGS = flags.FLAGS
_PROGRESS = "progress.json"
_CHANGED = "choose another --out, or delete it"


def pack(
    images: Path, out: Path, side: int | None = None, shard_images: int | None = None
) -> Info:
    """Packs images, or goes on where an earlier call with the same arguments was cut.

    Args:
      images: the folder.
      out: the folder to make.
      side: to resize to; None: no resizing.
      shard_images: images a file; None: half a GB.

    Returns:
      What is in `out`, which is then complete.

    Raises:
      UserError: if anything cannot be read or written, an image does not decode, or
        `out` has something else in it. Files that are complete stay.
    """
    plan, shards = make_plan(images, side, shard_images)
    if (out / INFO).exists():
        info = read_info(out)
        _check_plan(out, info.plan, plan)
        return info
    try:
        return _pack(plan, shards, out)
    except OSError as error:
        raise UserError(
            f"{out} cannot be written: {error}: mend it and run the same command again"
        ) from error


def _pack(plan: Plan, shards: list[Shard], out: Path) -> Info:
    progress = _begin(plan, shards, out)
    done = progress["shards"]
    first = sum(shard["records"] for shard in done)
    total = sum(len(shard.names) for shard in shards)
    title = f"pack {plan.images.name}"
    with tqdm.tqdm(
        total=total, initial=first, desc=title, unit=" images", delay=2
    ) as bar:
        for shard in shards[len(done) :]:
            done.append(pack_shard(plan, shard, out, bar.update))
            write_json(out / _PROGRESS, progress)
    info = plan.info(shards, done)
    write_json(out / INFO, to_json(info))
    (out / _PROGRESS).unlink()
    return info


def _begin(plan: Plan, shards: list[Shard], out: Path) -> dict[str, Any]:
    """What is done already; makes the folder if it is not there.

    Deletes files that are not complete: a program that still writes one fails then.
    """
    path = out / _PROGRESS
    if path.exists():
        progress = _read(path)
        _check_plan(out, progress["plan"], plan)
        _check_done(out, shards, progress["shards"])
    else:
        if out.exists() and not is_empty(out):
            raise UserError(f"{out} exists, and is no interrupted packing: {_CHANGED}")
        out.mkdir(parents=True, exist_ok=True)
        progress = {"plan": plan.to_json(), "shards": []}
        write_json(path, progress)
    for part in out.glob(".*.part"):
        part.unlink()
    return progress


def _read(path: Path) -> dict[str, Any]:
    try:
        progress = json.loads(path.read_bytes())
        if isinstance(progress["plan"], dict) and isinstance(progress["shards"], list):
            return progress
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path} is damaged: {_CHANGED}")


def _check_plan(out: Path, before: dict[str, Any], plan: Plan) -> None:
    for name, value in plan.to_json().items():
        if (was := before.get(name)) != value:
            raise UserError(
                f"{out} was begun with {name} {was}, not {value}: {_CHANGED}"
                if name in ("side", "image_shape", "shard_images")
                else f"{out} was begun with other images than there are now: {_CHANGED}"
            )


def _check_done(out: Path, shards: list[Shard], done: list[dict[str, Any]]) -> None:
    """The files that are complete are there, and their images are as they were."""
    for shard, made in zip(shards, done, strict=False):
        path = out / shard.filename
        if not path.exists() or path.stat().st_size != made["bytes"]:
            raise UserError(f"{path} is missing or cut short: {_CHANGED}")
        if shard.stamp() != made["stamp"]:
            raise UserError(f"images of {path} have changed since: {_CHANGED}")


def main() -> None:
    if not FLAGS.images or not FLAGS.out:
        raise UserError("say what to pack, and where to: --images=PATH --out=DIR")
    out = Path(FLAGS.out).expanduser()
    images = Path(FLAGS.images).expanduser()
    info = pack(images, out, FLAGS.side, FLAGS.shard_images)
    train, test = (len(info.labels(split)) for split in ("train", "test"))
    size = sum(size for split in info.shards.values() for _, size in split)
    print(
        f"{out}: {train} training and {test} test images of {len(info.class_names)} "
        f"classes, {'x'.join(map(str, info.image_shape))}, {size / 1e6:.1f} MB"
    )
    print(f"Next: python -m experiments.train --data=records:{out}")


if __name__ == "__main__":
    flags.DEFINE_string("images", None, "folder with train/CLASS/* and test/CLASS/*")
    flags.DEFINE_string("out", None, "folder to make")
    flags.DEFINE_integer("side", None, "of the packed images; else as they are", 1)
    flags.DEFINE_integer("shard_images", None, "images a file; else half a GB", 1)
    run(main, __doc__ or "")
