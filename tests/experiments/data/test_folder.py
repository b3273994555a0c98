"""Folders of images and archives of them, each with everything that can be wrong."""

import io
import itertools
import os
import tarfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.common.errors import UserError
from experiments.data import folder, image_files, load
from experiments.data.decode import decode
from helpers.images import SIXTEEN_BITS, SIXTEEN_BITS_A_PIXEL

CLASSES = ("ant", "bee")


def encode(seed, mode="RGB", size=(8, 6), kind="png", **options):
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
    shape = (size[1], size[0], *channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def make_tree(train=3, test=2, **options):
    """Contents by name: `train` and `test` images of each class."""
    names = [
        f"{split}/{label}/{index:04}.png"
        for split, count in (("train", train), ("test", test))
        for label in CLASSES
        for index in range(count)
    ]
    return {name: encode(seed, **options) for seed, name in enumerate(names)}


def write_folder(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_tar(path, files, prefix="", kind=""):
    mode: Any = f"w:{kind}"
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read(path, tmp_path, **options):
    return load(f"folder:{path}", data_dir=str(tmp_path / "data"), **options)


def fails(path, tmp_path):
    with pytest.raises(UserError) as caught:
        read(path, tmp_path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def check(data, files, channels=3):
    """Compares all images and labels with `files`."""
    assert data.class_names == CLASSES and len(data.validation) == 0
    for split, part in (("train", data.train), ("test", data.test)):
        names = sorted(name for name in files if name.startswith(split))
        expected = np.stack([pixels_of(files[name]) for name in names])
        expected = expected.reshape(*expected.shape[:3], -1)[..., :channels]
        np.testing.assert_array_equal(part.images, expected)
        labels = [CLASSES.index(name.split("/")[1]) for name in names]
        assert part.labels.tolist() == labels
        assert part.images.dtype == np.uint8 and part.labels.dtype == np.int32


def test_folder(tmp_path):
    files = make_tree()
    data = read(write_folder(tmp_path / "set", files), tmp_path, validation=0)
    check(data, files)
    assert data.name == f"folder:{tmp_path / 'set'}" and data.image_shape == (6, 8, 3)
    assert (data.levels, data.flip, data.crop_padding) == (255, True, 0)


def test_default_validation_and_crop_padding(tmp_path):
    files = make_tree(train=150, test=1, size=(32, 24))
    data = read(write_folder(tmp_path / "set", files), tmp_path)
    assert np.bincount(data.validation.labels).tolist() == [3, 3]
    assert data.crop_padding == 3
    few = read(write_folder(tmp_path / "few", make_tree()), tmp_path)
    assert np.bincount(few.validation.labels).tolist() == [1, 1]
    one = read(write_folder(tmp_path / "one", make_tree(train=1)), tmp_path)
    assert len(one.validation) == 0


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("prefix", ["", "./", "set/", "./set/"])
def test_archive(kind, prefix, tmp_path):
    files = make_tree()
    shuffled = {name: files[name] for name in sorted(files, key=hash)}
    extra = {"README": b"not looked at", "val/ant/1.png": b"nor is this"}
    path = write_tar(tmp_path / f"set.tar.{kind}", shuffled | extra, prefix, kind)
    check(read(path, tmp_path, validation=0), files)


def test_no_wrapper_is_needed_for_classes_named_like_splits(tmp_path):
    files = {
        name.replace("ant", "train").replace("bee", "test"): content
        for name, content in make_tree().items()
    }
    data = read(write_tar(tmp_path / "set.tar", files), tmp_path)
    assert data.class_names == ("test", "train")


def test_grey_images_have_one_channel(tmp_path):
    files = make_tree(mode="L")
    root = write_folder(tmp_path / "set", files)
    check(read(root, tmp_path, validation=0), files, channels=1)
    files["train/bee/0000.png"] = encode(9)
    write_folder(root, files)
    data = read(root, tmp_path, validation=0)
    assert data.image_shape == (6, 8, 3)
    np.testing.assert_array_equal(data.train.images[3], pixels_of(encode(9)))
    grey = pixels_of(files["train/ant/0000.png"])
    for channel in range(3):
        np.testing.assert_array_equal(data.train.images[0, ..., channel], grey)


def test_transparency_and_palettes(tmp_path):
    files = make_tree(mode="RGBA")
    root = write_folder(tmp_path / "set", files)
    check(read(root, tmp_path, validation=0), files)
    palette = Image.new("P", (8, 6))
    palette.putpalette([10, 20, 30] * 256)
    palette.save(root / "train/ant/0000.png", transparency=bytes(range(256)))
    image = read(root, tmp_path, validation=0).train.images[0]
    assert (image == [10, 20, 30]).all()


def test_files_of_the_system_are_left_out(tmp_path):
    files = make_tree()
    names = ["train/.DS_Store", "train/ant/.DS_Store", "train/ant/._0000.png"]
    names += ["test/bee/Thumbs.db", "train/.git/x", "test/ant/desktop.ini"]
    junk = dict.fromkeys(names, b"junk")
    root = write_folder(tmp_path / "set", files | junk)
    check(read(root, tmp_path, validation=0), files)
    junk["__MACOSX/train/ant/0000.png"] = b"junk"
    path = write_tar(tmp_path / "set.tar", files | junk)
    check(read(path, tmp_path, validation=0), files)


def test_undecodable_images_are_counted(tmp_path):
    files = make_tree(train=6)
    for index in range(4):
        files[f"train/bee/000{index}.png"] = b"no image"
    cut = encode(0, kind="jpeg", size=(64, 64))
    files["test/ant/0000.png"] = cut[: len(cut) // 2]
    message = fails(write_folder(tmp_path / "set", files), tmp_path)
    assert "5 images do not decode" in message and message.endswith("fix or remove")
    assert "test/ant/0000.png, train/bee/0000.png, train/bee/0001.png, …" in message


def test_sixteen_bits_and_other_files_are_named(tmp_path):
    root = write_folder(tmp_path / "set", make_tree())
    Image.fromarray(np.full((6, 8), 40000, np.uint16)).save(root / "train/ant/9.png")
    assert "1 image does not decode to 8 bits" in fails(root, tmp_path)
    (root / "train/ant/9.png").write_bytes(SIXTEEN_BITS)
    assert "1 image does not decode to 8 bits" in fails(root, tmp_path)
    (root / "train/ant/9.png").write_text("a note")
    assert "train/ant/9.png" in fails(root, tmp_path)


def test_sixteen_bits_a_pixel_are_few_enough():
    assert np.asarray(decode(SIXTEEN_BITS_A_PIXEL)).tolist() == [
        [[255, 0, 0], [0, 0, 255]]
    ]


def test_first_image_of_another_size_is_named(tmp_path):
    files = make_tree() | {"test/ant/0001.png": encode(0, size=(6, 8))}
    files["test/bee/0000.png"] = encode(0, size=(9, 9))
    message = fails(write_folder(tmp_path / "set", files), tmp_path)
    assert "test/ant/0001.png is 6x8, but train/ant/0000.png is 8x6 pixels" in message


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_split(split, tmp_path):
    files = {n: c for n, c in make_tree().items() if not n.startswith(split)}
    root = write_folder(tmp_path / "set", files)
    assert f"has no images at {split}/CLASS/*" in fails(root, tmp_path)
    (root / split).mkdir()
    assert f"has no images at {split}/CLASS/*" in fails(root, tmp_path)
    path = write_tar(tmp_path / "set.tar", files)
    assert f"has no images at {split}/CLASS/*" in fails(path, tmp_path)


def test_missing_folder(tmp_path):
    assert "does not exist" in fails(tmp_path / "none", tmp_path)
    assert "does not exist" in fails(tmp_path / "none.tar", tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_empty_class(split, tmp_path):
    root = write_folder(tmp_path / "set", make_tree())
    write_folder(root, {f"{split}/cow/.keep": b""})
    assert f"no images in {split}/cow" in fails(root, tmp_path)
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(root, "set")
    assert f"no images in {split}/cow" in fails(tmp_path / "set.tar", tmp_path)


def test_classes_must_agree(tmp_path):
    files = make_tree() | {"test/dog/1.png": encode(1), "test/cow/1.png": encode(1)}
    message = fails(write_folder(tmp_path / "set", files), tmp_path)
    assert "test/ has classes not in train/: cow, dog" in message


def test_test_may_lack_a_class(tmp_path):
    files = {n: c for n, c in make_tree().items() if not n.startswith("test/ant")}
    data = read(write_folder(tmp_path / "set", files), tmp_path)
    assert data.test.labels.tolist() == [1, 1]


def test_one_class(tmp_path):
    files = {n: c for n, c in make_tree().items() if "ant" in n}
    root = write_folder(tmp_path / "set", files)
    assert "has one class only: ant" in fails(root, tmp_path)


@pytest.mark.parametrize("name", ["train/1.png", "test/ant/more/1.png"])
def test_out_of_place(name, tmp_path):
    files = make_tree() | {name: encode(0)}
    root = write_folder(tmp_path / "set", files)
    assert "is out of place: images belong in" in fails(root, tmp_path)
    path = write_tar(tmp_path / "set.tar", files)
    assert f"{name} is out of place" in fails(path, tmp_path)


def test_two_roots(tmp_path):
    files = {f"{root}/{n}": c for root in "ab" for n, c in make_tree().items()}
    path = write_tar(tmp_path / "set.tar", files)
    assert "more than one folder train/" in fails(path, tmp_path)


def test_equal_pixels(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(buffer, "png")
    files = dict.fromkeys(make_tree(), buffer.getvalue())
    root = write_folder(tmp_path / "set", files)
    assert "all training pixels are equal" in fails(root, tmp_path)


def test_unreadable_file_is_named(tmp_path):
    root = write_folder(tmp_path / "set", make_tree())
    (root / "train/ant/9.png").symlink_to("nowhere")
    assert "cannot be read" in fails(root, tmp_path)
    assert "train/ant/9.png" in fails(root, tmp_path)


def test_links_in_an_archive(tmp_path):
    root = write_folder(tmp_path / "set", make_tree())
    os.link(root / "train/ant/0000.png", root / "train/ant/0009.png")
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(root, "")
    message = fails(path, tmp_path)
    assert "is a link or a device" in message and "--hard-dereference" in message


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_truncated_archive(kind, tmp_path):
    """At every header and inside every file, not only where tarfile notices."""
    path = write_tar(tmp_path / "set.tar", make_tree(), kind=kind)
    content = path.read_bytes()
    whole = 1024 if kind else 10 * 1024  # tarfile pads the end with zeros
    cuts = [*range(0, len(content) - whole, 512), 100, 700]
    cuts += [len(content) - 1] if kind else []
    for cut in cuts:
        path.write_bytes(content[:cut])
        message = fails(path, tmp_path)
        assert "cut short or damaged" in message or "cannot be read" in message


@pytest.mark.parametrize("kind", ["", "gz", "xz"])
def test_damaged_archive(kind, tmp_path):
    path = write_tar(tmp_path / "set.tar", make_tree(), kind=kind)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if kind else 1024] ^= 0xFF  # 1024: the second header
    path.write_bytes(content)
    fails(path, tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text" * 1000])
def test_not_an_archive(content, tmp_path):
    path = tmp_path / "set.zip"
    path.write_bytes(content)
    assert "is no tar archive" in fails(path, tmp_path)


def count_reads(monkeypatch):
    reads = []

    def files(path):
        reads.append(path)
        return image_files.read_files(path)

    monkeypatch.setattr(folder, "read_files", files)
    return reads


def test_archives_are_decoded_once(tmp_path, monkeypatch):
    reads = count_reads(monkeypatch)
    files = make_tree()
    path = write_tar(tmp_path / "set.tar.gz", files, kind="gz")
    for _ in range(3):
        check(read(path, tmp_path, validation=0), files)
    assert len(reads) == 1
    files["train/ant/0000.png"] = encode(99)
    write_tar(path, files, kind="gz")
    check(read(path, tmp_path, validation=0), files)
    assert len(reads) == 2
    (entry,) = (tmp_path / "data/lipjax").iterdir()  # one per archive, no leftovers
    for damaged in (b"", b"junk", entry.read_bytes()[:-100]):
        entry.write_bytes(damaged)
        check(read(path, tmp_path, validation=0), files)
    flipped = bytearray(entry.read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    entry.write_bytes(bytes(flipped))
    check(read(path, tmp_path, validation=0), files)
    assert len(reads) == 6


def test_folders_are_read_every_time(tmp_path, monkeypatch):
    reads = count_reads(monkeypatch)
    root = write_folder(tmp_path / "set", make_tree())
    read(root, tmp_path), read(root, tmp_path)
    assert len(reads) == 2 and not (tmp_path / "data").exists()


def test_cache_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    load(f"folder:{write_tar(tmp_path / 'set.tar', make_tree())}")
    assert len(list((tmp_path / "cache/lipjax").glob("set.tar-*.npz"))) == 1


def test_no_cache_where_nothing_can_be_written(tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    files = make_tree()
    path = write_tar(tmp_path / "set.tar", files)
    check(read(path, tmp_path, validation=0), files)


def test_the_copy_of_cifar10(shared):
    """The first classes only: all of it takes half a minute."""
    found = image_files.read_files(shared("data/cifar10-jpeg.tar.xz"))
    files = ((name, content) for name, content in found if content is not None)
    first = list(itertools.islice(files, 20))
    assert first[0][0] == ("train", "airplane", "0000.jpg")
    for _, content in first:
        image = decode(content)
        assert image is not None and image.shape == (32, 32, 3)
