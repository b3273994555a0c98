"""The image files of a folder, or of a tar archive laid out like one.

Files outside train/ and test/ are ignored, and so are the files that operating systems
add: names that start with a dot (.DS_Store, ._0001.jpg), __MACOSX, Thumbs.db and
desktop.ini. Everything else must be an image of a class.
"""

from __future__ import annotations

import lzma
import os
import pathlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from tarfile import HeaderError, ReadError, TarFile, TarInfo
from typing import Any

import tqdm

from ..common.errors import UserError
from .dataset import SPLITS

_SYSTEM = ("__MACOSX", "Thumbs.db", "desktop.ini")

Name = tuple[str, ...]
"""(split, class) of a class folder, (split, class, file) of an image file."""
Reader = Callable[[], bytes]


def read_files(path: pathlib.Path) -> Iterator[tuple[Name, bytes | None]]:
    """Yields the class folders and image files under `path`; slow reads show a bar.

    Args:
      path: a folder or a tar archive, compressed or not. An archive is read once, from
        beginning to end, and never unpacked. It may have one top-level folder.

    Yields:
      A name with the content of the file, or with None for a class folder.

    Raises:
      UserError: if `path` cannot be read to its end, or a file is out of place.
    """
    try:
        for name, read in _places(path):
            yield name, read() if read else None
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as error:
        raise UserError(
            f"{path} is no tar archive, or is cut short or damaged: get it again"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def list_files(folder: pathlib.Path) -> list[Name]:
    """Lists class folders, (split, class), and image files, (split, class, file).

    Raises:
      UserError: if the folder cannot be listed, or a file is out of place.
    """
    try:
        return [name for name, _ in _places(folder)]
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error}") from error


def _places(path: pathlib.Path) -> Iterator[tuple[Name, Reader | None]]:
    """Names under train/ and test/, each with its reader, or None for a folder."""
    entries = _walk if path.is_dir() else _unpack
    roots = set()
    for parts, read in entries(path):
        root, name = _locate(parts)
        if not name or _is_hidden(parts):
            continue
        roots.add(root)
        if len(roots) > 1:
            raise UserError(f"{path} has more than one folder {name[0]}/")
        _check_place(path, parts, name, read is None)
        if len(name) > 1:
            yield name, read


def _is_hidden(parts: Name) -> bool:
    return any(part.startswith(".") or part in _SYSTEM for part in parts)


def _locate(parts: Name) -> tuple[Name, Name]:
    """Splits off the top-level folder if there is one: (root, name)."""
    for depth in (0, 1):
        if parts[depth : depth + 1] and parts[depth] in SPLITS:
            return parts[:depth], parts[depth:]
    return (), ()


def _check_place(path: pathlib.Path, parts: Name, name: Name, is_folder: bool) -> None:
    if is_folder and len(name) > 2 or not is_folder and len(name) != 3:
        raise UserError(
            f"{path}: {'/'.join(parts)} is out of place: images belong in "
            "train/CLASS/FILE and test/CLASS/FILE"
        )


def _walk(folder: pathlib.Path) -> Iterator[tuple[Name, Reader | None]]:
    found = [e for split in SPLITS for e in _walk_below(folder / split, (split,))]
    title = f"read {folder.name}"
    yield from tqdm.tqdm(found, title, unit=" files", delay=2, disable=None)


def _walk_below(
    folder: pathlib.Path, parts: Name
) -> Iterator[tuple[Name, Reader | None]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = (*parts, entry.name)
            yield name, None if entry.is_dir() else pathlib.Path(entry.path).read_bytes
            if entry.is_dir() and len(name) < 3:
                yield from _walk_below(pathlib.Path(entry.path), name)


def _unpack(path: pathlib.Path) -> Iterator[tuple[Name, Reader | None]]:
    with path.open("rb") as file:
        size, title = path.stat().st_size, f"read {path.name}"
        bar: Any = tqdm.tqdm.wrapattr(
            file, "read", size, desc=title, delay=2, disable=None
        )
        with bar as counted, TarFile.open(fileobj=counted, tarinfo=_StrictInfo) as tar:
            for member in tar:
                parts = tuple(p for p in member.name.split("/") if p not in ("", "."))
                yield parts, None if member.isdir() else _reader(path, tar, member)
            compressed: Any = tar.fileobj
            while compressed.read(1 << 20):  # checks the checksum after the last byte
                pass


def _reader(path: pathlib.Path, tar: TarFile, member: TarInfo) -> Reader:
    def read() -> bytes:
        file = tar.extractfile(member) if member.isfile() else None
        if file is None:
            raise UserError(
                f"{path}: {member.name} is a link or a device: pack the files "
                "themselves (GNU tar: --dereference --hard-dereference)"
            )
        return file.read()

    return read


class _StrictInfo(TarInfo):
    """A header that must be intact: tarfile takes a damaged one for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: TarFile) -> TarInfo:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the zeros at the end
                raise
            raise ReadError(str(error)) from error
