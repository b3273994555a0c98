"""Files that are there whole or not at all."""

import errno
import os
import threading
import time

import pytest

from experiments.common import files
from experiments.common.errors import UserError, line_of
from experiments.common.files import alone, is_empty, write_bytes, write_json_lines


def test_a_full_disk_is_told_by_the_files_name(tmp_path):
    """The error of a write has no name, and comes when a part is written."""
    path = tmp_path / "file"
    write_bytes(path, b"before")

    def full():
        yield {"row": 1}
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError) as found:
        write_json_lines(path, full())
    assert line_of(found.value) == f"{path}: No space left on device"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"before"


def test_a_folder_that_a_killed_program_left_is_empty(tmp_path):
    assert is_empty(tmp_path)
    (tmp_path / ".config.json.part").touch()
    assert is_empty(tmp_path)
    (tmp_path / "config.json").touch()
    assert not is_empty(tmp_path)
    assert not is_empty(tmp_path / "config.json")


def test_one_program_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_PATIENCE", 0.0)
    with alone(tmp_path), pytest.raises(UserError, match="another program"):
        with alone(tmp_path):
            pass
    with alone(tmp_path):
        pass


def test_one_that_is_about_to_end_is_waited_for(tmp_path):
    entered = threading.Event()

    def other():
        with alone(tmp_path):
            entered.set()
            time.sleep(0.5)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    with alone(tmp_path):
        pass
    thread.join()
