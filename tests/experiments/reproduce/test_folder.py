"""The folder of a table is that of one table."""

import json

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
