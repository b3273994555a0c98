"""Packing: whatever interrupts it, the end is the same bytes or one clear line."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from experiments.common.errors import UserError
from experiments.data import load, pack_shard
from experiments.data.packing import pack
from helpers.images import encode, write_images
from helpers.programs import ROOT, program, refused


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def fails(*arguments, **options):
    with pytest.raises(UserError) as caught:
        pack(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def check_equal(packed, folder):
    """Compares with the same folder read into memory."""
    one, other = load(f"records:{packed}"), load(f"folder:{folder}")
    assert one.class_names == other.class_names
    assert (one.mean, one.std) == (other.mean, other.std)
    assert (one.levels, one.flip) == (other.levels, other.flip)
    assert (one.image_shape, one.crop_padding) == (other.image_shape, 0)
    for split in ("train", "validation", "test"):
        ours, theirs = getattr(one, split), getattr(other, split)
        np.testing.assert_array_equal(ours.images[:], theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        assert ours.labels.dtype == np.int32


@pytest.mark.parametrize("shard_images", [None, 1, 4, 7, 21])
def test_pixels_and_labels_are_the_folders(images, tmp_path, shard_images):
    info = pack(images, tmp_path / "out", shard_images=shard_images)
    check_equal(tmp_path / "out", images)
    files = sum(len(info.shards[split]) for split in info.shards)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert len(names) == files + 1 and "info.json" in names


def test_chunks_do_not_matter(images, tmp_path, monkeypatch):
    pack(images, tmp_path / "one", shard_images=9)
    monkeypatch.setattr(pack_shard, "_CHUNK", 2)
    pack(images, tmp_path / "two", shard_images=9)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_everything_becomes_rgb(images, tmp_path):
    (images / "train/bee/00.png").write_bytes(encode(0, mode="L"))
    pack(images, tmp_path / "out")
    check_equal(tmp_path / "out", images)
    grey = load(f"records:{tmp_path / 'out'}", validation=0).train.images[7]
    assert grey.shape == (6, 8, 3) and (grey == grey[..., :1]).all()


def test_side_is_of_the_square_in_the_middle(images, tmp_path):
    image = Image.new("RGB", (100, 20), "red")
    image.paste("blue", (20, 0, 80, 20))  # the filter sees a little more than 40 to 60
    for name, flipped in (("00", image), ("01", image.rotate(90, expand=True))):
        flipped.save(images / f"train/ant/{name}.png")
    pack(images, tmp_path / "out", side=4)
    data = load(f"records:{tmp_path / 'out'}", validation=0)
    assert data.image_shape == (4, 4, 3)
    assert (data.train.images[:2] == [0, 0, 255]).all()
    expected = Image.open(io.BytesIO((images / "test/cat/01.png").read_bytes()))
    expected = expected.resize((4, 4), Image.Resampling.LANCZOS, (1, 0, 7, 6))
    np.testing.assert_array_equal(data.test.images[-1], np.asarray(expected))


@pytest.mark.parametrize("stop", range(1, 28))
def test_an_interrupted_packing_goes_on(images, tmp_path, monkeypatch, stop):
    """At every record: 21 for training, 6 for the test, 4 a file."""
    pack(images, tmp_path / "straight", shard_images=4)
    write, written = pack_shard._Writer.write, []

    def interrupted(self, record):
        written.append(record)
        if len(written) == stop:
            raise KeyboardInterrupt
        write(self, record)

    out = tmp_path / "out"
    monkeypatch.setattr(pack_shard._Writer, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(images, out, shard_images=4)
    with pytest.raises(UserError, match="not \\(all\\) packed"):
        load(f"records:{out}")
    pack(images, out, shard_images=4)
    assert contents(out) == contents(tmp_path / "straight")
    complete = (stop - 1) // 4 if stop <= 21 else 6 + (stop - 22) // 4
    done = [4, 4, 4, 4, 4, 1, 4, 2][:complete]
    assert len(written) == stop + 27 - sum(done)  # no complete file is made again


KILLED = """
import os, signal, sys
from pathlib import Path
from experiments.data.packing import pack
from experiments.data import pack_shard

def killed(*arguments):
    if Path(sys.argv[2], sys.argv[3]).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return append(*arguments)

append, pack_shard._append = pack_shard._append, killed
pack(Path(sys.argv[1]), Path(sys.argv[2]), shard_images=4)
"""


def test_a_killed_program_goes_on(images, tmp_path):
    out, straight = tmp_path / "out", tmp_path / "straight"
    command = [sys.executable, "-c", KILLED, images, out]
    command.append("train-00002-of-00006.array_record")
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert len(list(out.glob(".train-00003-of-00006.array_record.*.part"))) == 1
    flags = (f"--images={images}", "--shard_images=4")
    for folder in (out, straight):
        result = program("pack", *flags, f"--out={folder}")
        assert result.returncode == 0 and result.stderr == ""
        assert f"{folder}: 21 training and 6 test images of 3" in result.stdout
    assert contents(out) == contents(straight)


def test_of_two_programs_at_once_the_later_one_wins(images, tmp_path, monkeypatch):
    append, out, calls = pack_shard._append, tmp_path / "out", []

    def late(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            pack(images, out, shard_images=4)
        return append(*arguments)

    monkeypatch.setattr(pack_shard, "_append", late)
    assert "cannot be written" in fails(images, out, shard_images=4)
    pack(images, tmp_path / "straight", shard_images=4)
    assert contents(out) == contents(tmp_path / "straight")


def interrupt(images, out, monkeypatch, **options):
    """Leaves three complete files."""
    with monkeypatch.context() as patch:
        append, calls = pack_shard._append, []

        def stopped(*arguments):
            calls.append(arguments)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return append(*arguments)

        patch.setattr(pack_shard, "_append", stopped)
        with pytest.raises(KeyboardInterrupt):
            pack(images, out, **{"shard_images": 4, **options})


def test_other_settings_are_refused(images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupt(images, out, monkeypatch, side=8)
    before = contents(out)
    assert "begun with side 8, not None" in fails(images, out, shard_images=4)
    assert "begun with shard_images 4, not 5" in fails(images, out, 8, 5)
    (images / "train/bee/99.png").write_bytes(encode(0))
    assert "other images than there are now" in fails(images, out, 8, 4)
    (images / "train/bee/99.png").unlink()
    assert contents(out) == before
    pack(images, out, 8, 4)
    before = contents(out)
    assert "begun with side 8, not 4" in fails(images, out, 4, 4)
    pack(images, out, 8, 4)  # is complete
    assert contents(out) == before


def test_changed_images_are_refused(images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupt(images, out, monkeypatch)
    (images / "train/cat/06.png").write_bytes(encode(0))  # not packed yet
    os.utime(images / "train/ant/00.png", (0, 0))
    message = fails(images, out, shard_images=4)
    assert "train-00000-of-00006.array_record have changed since" in message
    (images / "train/ant/00.png").unlink()
    (images / "train/ant/00.png").symlink_to("nowhere")
    assert "cannot be read" in fails(images, out, shard_images=4)


def test_damaged_remains_are_refused(images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupt(images, out, monkeypatch)
    shard = out / "train-00001-of-00006.array_record"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "is missing or cut short" in fails(images, out, shard_images=4)
    shard.unlink()
    assert "is missing or cut short" in fails(images, out, shard_images=4)
    for content in ("", "[]", "{}", '{"plan": 1, "shards": []}'):
        (out / "progress.json").write_text(content)
        assert "progress.json is damaged" in fails(images, out, shard_images=4)


def test_broken_images_are_named_and_can_be_fixed(images, tmp_path):
    good = (images / "train/bee/03.png").read_bytes()
    for name in ("train/bee/03.png", "train/bee/04.png"):
        (images / name).write_bytes(b"no image")
    out = tmp_path / "out"
    message = fails(images, out, shard_images=7)
    assert "2 images do not decode to 8 bits per channel: train/bee/03.png" in message
    assert {p.name for p in out.iterdir()} == {
        "progress.json",
        "train-00000-of-00003.array_record",
    }
    for name in ("train/bee/03.png", "train/bee/04.png"):
        (images / name).write_bytes(good)
    pack(images, out, shard_images=7)
    check_equal(out, images)


def test_first_image_broken(images, tmp_path):
    (images / "train/ant/00.png").write_bytes(b"no image")
    assert "train/ant/00.png: fix or remove" in fails(images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_image_of_another_size_is_named(images, tmp_path):
    (images / "train/bee/03.png").write_bytes(encode(0, size=(9, 6)))
    message = fails(images, tmp_path / "out")
    assert "train/bee/03.png is 9x6, but the first image is 8x6 pixels" in message
    assert "--side=PIXELS" in message


@pytest.mark.parametrize("content", ["file", "folder"])
def test_other_things_are_not_written_over(images, tmp_path, content):
    out = tmp_path / "out"
    if content == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    assert "is no interrupted packing" in fails(images, out)
    assert "mine" in (out if content == "file" else out / "mine").read_text()


def test_sources(images, tmp_path):
    out = tmp_path / "out"
    assert "none does not exist" in fails(tmp_path / "none", out)
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(images, "")
    assert "if it is an archive, unpack it" in fails(tmp_path / "set.tar", out)
    (images / "test/dog").mkdir()
    assert "no images in test/dog" in fails(images, out)
    assert not out.exists()


def test_a_full_disk(images, tmp_path):
    """A limit on the size of files stands for it."""
    code = (
        "import resource, runpy, sys; sys.argv = sys.argv[1:];"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "runpy.run_module('experiments.pack', run_name='__main__')"
    )
    flags = ["pack", f"--images={images}", f"--out={tmp_path / 'out'}", "--side=64"]
    result = subprocess.run(
        [sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "cannot be written" in line and "too large" in line
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"progress.json"}
    pack(images, tmp_path / "out", side=64)


def test_the_program_refuses(images, tmp_path):
    assert "--images=PATH --out=DIR" in refused("pack", f"--images={images}")
    flags = (f"--images={images}", f"--out={tmp_path / 'out'}")
    assert "side" in refused("pack", *flags, "--side=0")


def test_info_is_exact(images, tmp_path):
    info = pack(images, tmp_path / "out", shard_images=5)
    train = load(f"folder:{images}", validation=0).train.images.astype(int)
    for channel, sums in enumerate(info.sums):
        pixels = train[..., channel].ravel().tolist()
        assert sums == (len(pixels), sum(pixels), sum(p * p for p in pixels))
    values = json.loads((tmp_path / "out/info.json").read_text())
    assert values["class_counts"] == {"train": [7, 7, 7], "test": [2, 2, 2]}
