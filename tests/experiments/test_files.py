"""Files that are there whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from experiments.errors import line_of
from experiments.files import write_bytes


def test_a_full_disk_is_told_by_the_files_name(tmp_path, monkeypatch):
    """As Linux does: the error of a write has no name, and leaves a part behind."""
    path = tmp_path / "file"
    write_bytes(path, b"before")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError) as found:
        write_bytes(path, b"after")
    assert line_of(found.value) == f"{path}: No space left on device"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"before"
