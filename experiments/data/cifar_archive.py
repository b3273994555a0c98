"""The official binary archives of CIFAR: fetched, verified, parsed.

A record is one label byte (CIFAR-100: a coarse label, then the fine one), then 3072
bytes of pixels: 32 rows of red, 32 of green, 32 of blue.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import os
import pathlib
import tarfile
import urllib.request
import zlib

import numpy as np
import tqdm

from ..common.errors import UserError
from .dataset import Split

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_BLOCK = 1 << 20
_SITE = "https://www.cs.toronto.edu/~kriz/"


@dataclasses.dataclass(frozen=True)
class Archive:
    """The name, checksum and layout of an archive."""

    filename: str
    sha256: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    class_names: str
    label_bytes: int

    @property
    def url(self) -> str:
        """The address that the archive is published at."""
        return _SITE + self.filename


ARCHIVES = {
    "cifar10": Archive(
        filename="cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        test=("test_batch.bin",),
        class_names="batches.meta.txt",
        label_bytes=1,
    ),
    "cifar100": Archive(
        filename="cifar-100-binary.tar.gz",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        folder="cifar-100-binary",
        train=("train.bin",),
        test=("test.bin",),
        class_names="fine_label_names.txt",
        label_bytes=2,
    ),
}


def fetch(archive: Archive, downloads: pathlib.Path) -> pathlib.Path:
    """The verified archive: downloads/manual/FILE if it exists, else downloads/FILE.

    Raises:
      UserError: if it cannot be downloaded, or its checksum is wrong.
    """
    manual = downloads / "manual" / archive.filename
    path = manual if manual.exists() else downloads / archive.filename
    if not path.exists():
        _download(archive, path, manual)
    elif not _is_right(archive, path):
        raise UserError(
            f"{path} is damaged or another file (its sha256 is not "
            f"{archive.sha256[:12]}…): delete it and get {archive.url} again"
        )
    return path


def _download(archive: Archive, path: pathlib.Path, manual: pathlib.Path) -> None:
    """Downloads to a temporary name, which is renamed once complete."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy_url(archive.url, part)
        if not _is_right(archive, part):
            raise OSError("it came damaged or cut short")
        part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"cannot download {archive.url} ({error}): try again, or put it at {manual}"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _copy_url(url: str, path: pathlib.Path) -> None:
    with urllib.request.urlopen(url, timeout=30) as source, path.open("wb") as sink:
        size = int(source.headers.get("Content-Length") or 0) or None
        with tqdm.tqdm(total=size, unit="B", unit_scale=True, desc=url) as bar:
            while block := source.read(_BLOCK):
                sink.write(block)
                bar.update(len(block))


def _is_right(archive: Archive, path: pathlib.Path) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == archive.sha256
    except OSError as error:
        raise UserError(f"cannot read the archive: {error}") from error


def parse(archive: Archive, path: pathlib.Path) -> tuple[Split, Split, list[str]]:
    """Training images, test images and class names of the archive at `path`.

    Returns:
      Images uint8 [N, 32, 32, 3] with labels int32 [N], twice; the names.

    Raises:
      UserError: if the archive is cut short, is another one, or a label is wrong.
    """
    files = _members(archive, path)
    names = files[archive.class_names].decode().split()
    splits = []
    for batches in (archive.train, archive.test):
        parts = [
            _records(archive, f"{path}: {f}", files[f], len(names)) for f in batches
        ]
        images = np.concatenate([part.images for part in parts])
        splits.append(Split(images, np.concatenate([part.labels for part in parts])))
    return splits[0], splits[1], names


def _members(archive: Archive, path: pathlib.Path) -> dict[str, bytes]:
    """Contents of the batches and of the file of class names, by name."""
    files = {}
    wanted = (*archive.train, *archive.test, archive.class_names)
    try:
        with tarfile.open(path) as tar:
            for name in wanted:
                content = tar.extractfile(f"{archive.folder}/{name}")
                files[name] = content.read() if content else b""
    except KeyError as error:
        raise UserError(
            f"{path} is another archive ({error.args[0]}): get {archive.url}"
        ) from error
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(
            f"{path} is cut short or no archive: delete it and get {archive.url} again"
        ) from error
    return files


def _records(archive: Archive, where: str, content: bytes, classes: int) -> Split:
    """Parses the records of one file; images [N, 32, 32, 3]."""
    size = archive.label_bytes + _PIXELS
    if not content or len(content) % size:
        raise UserError(
            f"{where} has {len(content)} bytes, not a multiple of {size}: get "
            f"{archive.url}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = records[:, archive.label_bytes - 1].astype(np.int32)
    if (wrong := np.flatnonzero(labels >= classes)).size:
        raise UserError(
            f"{where}: record {wrong[0]} has label {labels[wrong[0]]}, but there are "
            f"{classes} classes: get {archive.url}"
        )
    pixels = records[:, archive.label_bytes :].reshape(-1, 3, _SIDE, _SIDE)
    return Split(pixels.transpose(0, 2, 3, 1), labels)
