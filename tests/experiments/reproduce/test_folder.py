"""The folder of a table is that of one table, and one program works on it."""

import json
import threading
import time

import pytest

from experiments.common.errors import UserError
from experiments.reproduce import folder

SETTINGS = {"table": "heads", "size": "cpu", "data": "folder:a", "certify_images": 9}


def made(tmp_path):
    path, earlier = folder.opened(tmp_path, SETTINGS)
    assert earlier == {}
    (path / "results.json").write_text(json.dumps(SETTINGS | {"runs": [{"seed": 1}]}))
    return path


def test_the_same_settings_open_it_again(tmp_path):
    path = made(tmp_path)
    again, earlier = folder.opened(tmp_path, SETTINGS | {"data": "folder:moved"})
    assert again == path and earlier["runs"] == [{"seed": 1}]


@pytest.mark.parametrize(
    "change", [{"size": "gpu"}, {"data": "cifar10"}, {"certify_images": None}]
)
def test_other_settings_do_not(tmp_path, change):
    made(tmp_path)
    with pytest.raises(UserError, match="name another --out"):
        folder.opened(tmp_path, SETTINGS | change)


def test_the_folder_of_another_table(tmp_path):
    path = made(tmp_path)
    with pytest.raises(UserError, match="folder of one table"):
        folder.opened(path, SETTINGS | {"table": "depth"})
    path.rename(tmp_path / "depth")
    with pytest.raises(UserError, match="--table=heads, not depth"):
        folder.opened(tmp_path, SETTINGS | {"table": "depth"})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": 3}'])
def test_damaged_results(tmp_path, text):
    (made(tmp_path) / "results.json").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        folder.opened(tmp_path, SETTINGS)


def test_one_program_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_PATIENCE", 0.0)
    with folder.alone(tmp_path), pytest.raises(UserError, match="another program"):
        with folder.alone(tmp_path):
            pass
    with folder.alone(tmp_path):
        pass


def test_one_that_is_about_to_end_is_waited_for(tmp_path):
    entered = threading.Event()

    def other():
        with folder.alone(tmp_path):
            entered.set()
            time.sleep(0.5)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    with folder.alone(tmp_path):
        pass
    thread.join()
