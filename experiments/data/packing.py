"""Packs a folder of images into files that training reads from the disk.

Files are written one after the other, each under a temporary name that is renamed once
the file is complete. progress.json lists the complete ones, so that an interrupted call
continues with the next; info.json, written last, replaces it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tqdm

from ..common.errors import UserError
from ..common.files import is_empty, write_json
from .pack_shard import pack_shard
from .packing_plan import PackingPlan, Shard, make_plan
from .record_files import INFO, RecordsInfo, read_info, to_json

_PROGRESS = "progress.json"
_CHANGED = "choose another --out, or delete it"


def pack(
    images: Path, out: Path, side: int | None = None, shard_images: int | None = None
) -> RecordsInfo:
    """Packs images, or continues an interrupted call with the same arguments.

    Args:
      images: the folder.
      out: the folder to write.
      side: pixels a side after resizing; None: no resizing.
      shard_images: images per file; None: half a GB.

    Returns:
      The contents of info.json; `out` is complete.

    Raises:
      UserError: if anything cannot be read or written, an image does not decode, or
        `out` has other contents. Complete files are kept.
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
            f"{out} cannot be written: {error}: fix this and run the same command again"
        ) from error


def _pack(plan: PackingPlan, shards: list[Shard], out: Path) -> RecordsInfo:
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


def _begin(plan: PackingPlan, shards: list[Shard], out: Path) -> dict[str, Any]:
    """Reads the progress, and makes the folder if it does not exist.

    Deletes incomplete files: another program that is writing one of them fails.
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


def _check_plan(out: Path, before: dict[str, Any], plan: PackingPlan) -> None:
    for name, value in plan.to_json().items():
        if (was := before.get(name)) != value:
            raise UserError(
                f"{out} was begun with {name} {was}, not {value}: {_CHANGED}"
                if name in ("side", "image_shape", "shard_images")
                else f"{out} was begun with other images than there are now: {_CHANGED}"
            )


def _check_done(out: Path, shards: list[Shard], done: list[dict[str, Any]]) -> None:
    """Refuses if a complete file is missing or cut short, or its images changed."""
    for shard, made in zip(shards, done, strict=False):
        path = out / shard.filename
        if not path.exists() or path.stat().st_size != made["bytes"]:
            raise UserError(f"{path} is missing or cut short: {_CHANGED}")
        if shard.stamp() != made["stamp"]:
            raise UserError(f"images of {path} have changed since: {_CHANGED}")
