"""CIFAR from small archives that the tests make; no network."""

import dataclasses
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request

import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.data import cifar_archive, load
from experiments.data.cifar_archive import ARCHIVES

RECORDS = 12


def make_files(name, seed=0):
    """Contents of a small archive's files, with the images and labels in them."""
    archive, rng = ARCHIVES[name], np.random.default_rng(seed)
    files, expected = {}, {}
    for batch in (*archive.train, *archive.test):
        labels = np.arange(RECORDS, dtype=np.uint8)[:, None] % 4
        coarse = np.full((RECORDS, archive.label_bytes - 1), 19, np.uint8)
        planes = rng.integers(0, 256, (RECORDS, 3, 32, 32), np.uint8)
        records = np.hstack([coarse, labels, planes.reshape(RECORDS, -1)])
        files[batch] = records.tobytes()
        expected[batch] = planes.transpose(0, 2, 3, 1), labels[:, 0]
    files[archive.class_names] = b"ant\nbee\ncow\ndog\n\n"
    return files, expected


def write_archive(path, name, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for member, content in files.items():
            info = tarfile.TarInfo(f"{ARCHIVES[name].folder}/{member}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def trust(monkeypatch, name, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    changed = dataclasses.replace(ARCHIVES[name], sha256=digest)
    monkeypatch.setitem(ARCHIVES, name, changed)


def manual(tmp_path, name):
    return tmp_path / "downloads" / "manual" / ARCHIVES[name].filename


@pytest.fixture(autouse=True)
def temporary_files(tmp_path_factory, monkeypatch):
    """tensorflow-datasets leaves an empty one behind for every builder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(url, timeout):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def put(tmp_path, monkeypatch, name, files):
    path = manual(tmp_path, name)
    write_archive(path, name, files)
    trust(monkeypatch, name, path)
    return path


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_reads_every_pixel(name, tmp_path, monkeypatch, no_network, capsys):
    files, expected = make_files(name)
    path = put(tmp_path, monkeypatch, name, files)
    data = load(name, data_dir=str(tmp_path), validation=0)
    assert data.name == name and data.class_names == ("ant", "bee", "cow", "dog")
    assert (data.levels, data.flip, data.crop_padding) == (255, True, 4)
    for split, batches in [
        (data.train, ARCHIVES[name].train),
        (data.test, ARCHIVES[name].test),
    ]:
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
        images = np.concatenate([expected[b][0] for b in batches])
        np.testing.assert_array_equal(split.images, images)
        labels = np.concatenate([expected[b][1] for b in batches])
        np.testing.assert_array_equal(split.labels, labels)
    assert capsys.readouterr().out == ""
    path.unlink()  # prepared once, read again without the archive
    for _ in range(2):
        again = load(name, data_dir=str(tmp_path), validation=0)
        np.testing.assert_array_equal(again.train.images, data.train.images)
        assert again.class_names == data.class_names
        shutil.rmtree(tmp_path / "lipjax")  # the cache


def fails(tmp_path, name="cifar10"):
    with pytest.raises(UserError) as caught:
        load(name, data_dir=str(tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_wrong_checksum(tmp_path, no_network):
    path = manual(tmp_path, "cifar10")
    write_archive(path, "cifar10", make_files("cifar10")[0])
    message = fails(tmp_path)
    assert str(path) in message and "sha256" in message and "delete it" in message


def test_no_network_says_where_to_put_the_archive(tmp_path, no_network):
    message = fails(tmp_path)
    assert "cannot download https://www.cs.toronto.edu" in message
    assert str(manual(tmp_path, "cifar10")) in message


class Response(io.BytesIO):
    headers = {"Content-Length": "3"}


def test_downloads_and_verifies(tmp_path, monkeypatch):
    source = tmp_path / "source.tar.gz"
    write_archive(source, "cifar100", make_files("cifar100")[0])
    content, urls = source.read_bytes(), []

    def serve(url, timeout):
        urls.append(url)
        return Response(content if len(urls) > 1 else content[:-9])

    monkeypatch.setattr(urllib.request, "urlopen", serve)
    trust(monkeypatch, "cifar100", source)
    assert "cut short" in fails(tmp_path, "cifar100")  # a cut download leaves nothing
    assert not [p for p in (tmp_path / "downloads").iterdir() if p.is_file()]
    data = load("cifar100", data_dir=str(tmp_path))
    assert urls == ["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"] * 2
    assert len(data.train) == RECORDS - 4


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_truncated_archive(kept, tmp_path, monkeypatch):
    path = put(tmp_path, monkeypatch, "cifar10", make_files("cifar10")[0])
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    trust(monkeypatch, "cifar10", path)
    assert f"{path} is cut short or no archive" in fails(tmp_path)


def test_archive_that_cannot_be_read(tmp_path):
    path = manual(tmp_path, "cifar10")
    path.mkdir(parents=True)
    assert f"cannot read the archive: [Errno 21] Is a directory: '{path}'" in fails(
        tmp_path
    )


def test_foreign_archive(tmp_path, monkeypatch):
    path = put(tmp_path, monkeypatch, "cifar10", {"other.bin": b"1"})
    message = fails(tmp_path)
    assert f"{path} is another archive" in message and "data_batch_1.bin" in message


def test_half_a_record(tmp_path, monkeypatch):
    files, _ = make_files("cifar10")
    files["test_batch.bin"] = files["test_batch.bin"][:-1]
    put(tmp_path, monkeypatch, "cifar10", files)
    assert "test_batch.bin has 36875 bytes" in fails(tmp_path)


@pytest.mark.parametrize("name,byte", [("cifar10", 0), ("cifar100", 1)])
def test_label_out_of_range(name, byte, tmp_path, monkeypatch):
    files, _ = make_files(name)
    batch, size = ARCHIVES[name].test[0], 3072 + ARCHIVES[name].label_bytes
    content = bytearray(files[batch])
    content[5 * size + byte] = 4
    put(tmp_path, monkeypatch, name, files | {batch: bytes(content)})
    message = fails(tmp_path, name)
    assert f"{batch}: record 5 has label 4, but there are 4 classes" in message


def test_interrupted_preparation_leaves_nothing(tmp_path, monkeypatch):
    from experiments.data import cifar

    put(tmp_path, monkeypatch, "cifar10", make_files("cifar10")[0])
    images = iter(range(RECORDS))

    def interrupt(image):
        if next(images) == 7:
            raise KeyboardInterrupt
        return b""

    with monkeypatch.context() as patch:
        patch.setattr(cifar, "_png", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load("cifar10", data_dir=str(tmp_path))
    assert not list(tmp_path.glob("lipjax_cifar/cifar10/*"))
    assert len(load("cifar10", data_dir=str(tmp_path), validation=0).train) == 60


def test_two_preparations_at_once(tmp_path, monkeypatch):
    from experiments.data import cifar

    put(tmp_path, monkeypatch, "cifar10", make_files("cifar10")[0])
    png, others = cifar._png, []

    def slow(image):
        if not others:
            others.append(None)
            others.append(load("cifar10", data_dir=str(tmp_path)))
        return png(image)

    monkeypatch.setattr(cifar, "_png", slow)
    data = load("cifar10", data_dir=str(tmp_path))
    np.testing.assert_array_equal(data.test.images, others[1].test.images)
    assert len(list(tmp_path.glob("lipjax_cifar/cifar10/*"))) == 1


def test_data_dir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert "choose another data_dir" in fails(tmp_path / "file")


def test_killed_preparation_is_not_taken_for_the_data(tmp_path, monkeypatch):
    path = put(tmp_path, monkeypatch, "cifar10", make_files("cifar10")[0])
    program = f"""
import dataclasses, os
from experiments.data import cifar, load
archive = cifar.ARCHIVES["cifar10"]
digest = {ARCHIVES["cifar10"].sha256!r}
cifar.ARCHIVES["cifar10"] = dataclasses.replace(archive, sha256=digest)
images = iter(range(9))
cifar._png = lambda image: b"" if next(images) < 7 else os._exit(9)
load("cifar10", data_dir={str(tmp_path)!r})
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert list(tmp_path.glob("lipjax_cifar/cifar10/incomplete*"))
    path.rename(path.with_suffix(".kept"))
    with monkeypatch.context() as patch:
        patch.setattr(cifar_archive, "_copy_url", lambda *_: open("/nonexistent"))
        assert "cannot download" in fails(tmp_path)
    path.with_suffix(".kept").rename(path)
    assert len(load("cifar10", data_dir=str(tmp_path), validation=0).train) == 60


@pytest.mark.parametrize("keep", [0, 0.5])
def test_damaged_prepared_data(keep, tmp_path, monkeypatch):
    put(tmp_path, monkeypatch, "cifar10", make_files("cifar10")[0])
    load("cifar10", data_dir=str(tmp_path))
    shutil.rmtree(tmp_path / "lipjax")  # the cache
    (record,) = tmp_path.glob("lipjax_cifar/*/*/*-train.array_record*")
    content = record.read_bytes()
    record.write_bytes(content[: int(keep * len(content))])
    assert "delete it to prepare it again" in fails(tmp_path)
    (record.parent / "dataset_info.json").unlink()
    assert "delete it to prepare it again" in fails(tmp_path)


def test_needs_no_tensorflow(tmp_path):
    program = """
import sys
import experiments.data
assert "tensorflow_datasets" not in sys.modules
import experiments.data.cifar
assert "tensorflow_datasets" in sys.modules and "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
