"""Other ways to write the same JSON and the same archives, and broken ones."""

import functools
import hashlib
import io
import json
import pickle
import re
import struct
import zipfile
from typing import Any

import numpy as np

from helpers.small_proofs import Proof, files_of, image_hash

Random = np.random.Generator
NUMBER = re.compile(rb"-?\d+\.\d+(?:e[+-]?\d+)?")
KEY = re.compile(rb'"(\w+)": ')


def rewritten_hash(files: dict[str, bytes], proof: Proof) -> dict[str, bytes]:
    """Replaces the hashes in the certificates by those of the forged files."""
    old = hashlib.sha256(files_of(proof)["model.npz"]).hexdigest().encode()
    new = hashlib.sha256(files["model.npz"]).hexdigest().encode()
    lines = files["certificates.jsonl"].replace(old, new)
    try:
        data = np.load(io.BytesIO(files["images.npz"]))
        pixels = data["images"] / float(data["levels"])
        for i, image in enumerate(pixels[: proof.count]):
            was = image_hash(proof.pixels(i)).encode()
            lines = lines.replace(was, image_hash(image).encode())
    except Exception:  # it cannot be read: neither can its hashes
        pass
    return files | {"certificates.jsonl": lines}


def bytes_changed(before: bytes, rng: Random) -> bytes:
    content, i = bytearray(before), int(rng.integers(len(before)))
    how = rng.integers(6)
    if how < 2:
        content[i] ^= 1 << int(rng.integers(8))
    elif how == 2:
        content[i] = rng.choice([0, 9, 10, 13, 32, 34, 44, 48, 57, 92, 127, 255])
    elif how == 3:
        del content[i : i + int(rng.choice([1, 2, 8, 64]))]
    elif how == 4:
        content[i:i] = rng.bytes(int(rng.choice([1, 2, 8, 64])))
    else:
        j = int(rng.integers(len(content)))
        content[i : i + 8] = content[j : j + 8]
    return bytes(content)


def cut(content: bytes, rng: Random) -> bytes:
    return content[: rng.integers(len(content) + 1)]


def lengthened(content: bytes, rng: Random) -> bytes:
    tails = [b"\0", b"\n", b" ", b"\n\n", b"{}\n", b"\x1a", b"PK\x05\x06", b"x" * 999]
    tails.append(content)
    tail = tails[rng.integers(len(tails))]
    return content + tail if rng.random() < 0.5 else tail + content


def written_otherwise(text: bytes, rng: Random) -> bytes:
    """The same JSON, not as Python writes it."""
    first, nl, rest = text.partition(b"\n")
    how = rng.integers(9)
    if how == 0:
        first = first.replace(b", ", b",", 1)
    elif how == 1:
        first = rng.choice([b" ", b"\t", b"\r", b"\x0b"]) + first
    elif how == 2:
        first += rng.choice([b" ", b"\r", b"\t", b"\x00", b"\xa0"])
    elif how == 3:
        escaped = lambda m: b'"\\u%04x%s": ' % (m[1][0], m[1][1:])  # noqa: E731
        first = KEY.sub(escaped, first, count=1)
    elif how == 4:
        first = json.dumps(json.loads(first), sort_keys=True).encode()
    elif how == 5:
        first = json.dumps(json.loads(first), indent=1).replace("\n", "").encode()
    elif how == 6:
        first = json.dumps(json.loads(first), separators=(",", ":")).encode()
    elif how == 7:
        first = first.replace(b"/", b"\\/").replace(b"}", b" }", 1)
    else:
        first = b"/**/" + first
    return first + nl + rest


def numbers_otherwise(text: bytes, rng: Random) -> bytes:
    """The same numbers, or nearly, in other digits."""
    found = list(NUMBER.finditer(text))
    if not found:
        return text + b" "
    match = found[rng.integers(len(found))]
    digits, value = match[0], float(match[0])
    ways = [
        digits + b"0", digits + b"1" * 20, digits + b"e0", digits + b"E+00",
        b"+" + digits, b"0" + digits, f"{value:.25g}".encode(), f"{value:.3g}".encode(),
        f"{value:E}".encode(), b"-" + digits, digits.replace(b"0.", b".", 1),
        value.hex().encode(), b"1_0.0", digits.replace(b".", b","), b"NaN", b"Infinity",
        b"-0.0", b"1e400", b"0x1", b"1" * 5000, "\u0663.5".encode(), b"00.0",
        b'"' + digits + b'"', b"0" if value < 0.5 else b"1",
    ]  # fmt: skip
    way = ways[rng.integers(len(ways))]
    return text[: match.start()] + way + text[match.end() :]


def keys_twice(text: bytes, rng: Random) -> bytes:
    found = list(KEY.finditer(text))
    match = found[rng.integers(len(found))]
    value = rng.choice([b"0", b"9.0", b"null", b"{}", b"0.001"])
    pair = b'"' + match[1] + b'": ' + value + b", "
    if rng.random() < 0.5:
        return text[: match.start()] + pair + text[match.start() :]
    end = text.find(b"}", match.end())
    return text[:end] + b", " + pair[:-2] + text[end:]


def encoded_otherwise(text: bytes, rng: Random) -> bytes:
    names = "utf-16 utf-16-le utf-16-be utf-32 utf-8-sig utf-7 cp037".split()
    how = rng.integers(len(names) + 3)
    if how < len(names):
        return text.decode().encode(names[how])
    if how == len(names):
        return text.replace(b"\n", b"\r\n") if b"\n" in text else text + b"\r\n"
    if how == len(names) + 1:
        return text.replace(b"i", "\u0131".encode(), 1)
    return text.replace(b"}", b"\xe2\x80\xa8}", 1)


def nested_deeply(text: bytes, rng: Random) -> bytes:
    depth = int(rng.choice([100, 990, 10_000, 1_000_000]))
    way = b"[" * depth if rng.random() < 0.5 else b'{"a":' * depth
    close = (b"]" if way[:1] == b"[" else b"}") * depth
    value = way + (b"1" if way[:1] == b"{" else b"") + close * bool(rng.random() < 0.5)
    match = NUMBER.search(text)
    if rng.random() < 0.5 or not match:
        return text + value + b"\n"
    return text[: match.start()] + value + text[match.end() :]


def lines_rearranged(text: bytes, rng: Random) -> bytes:
    lines = text.splitlines(keepends=True)
    i, j = rng.integers(len(lines), size=2)
    how = rng.integers(6)
    if how == 0:
        lines[i], lines[j] = lines[j], lines[i]
    elif how == 1:
        lines.insert(i, lines[j])
    elif how == 2:
        others = [b"\n", b"{}\n", b"null\n", b"[]\n", b"1\n", b"\xff\n", b'"x"\n']
        lines.insert(i, others[rng.integers(len(others))])
    elif how == 3:
        lines[i] = lines[i].rstrip(b"\n")
    elif how == 4:
        ends = [b"\r", b"\x0b\n", b"\x00", b"\x85", b",\n"]
        lines[i] = lines[i].replace(b"\n", ends[rng.integers(len(ends))])
    else:
        lines = [b"[", b",".join(line.rstrip() for line in lines), b"]\n"]
    return b"".join(lines)


def entries_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(entries: Any, **settings: Any) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in entries:
            archive.writestr(name, value, **settings)
        archive.comment = settings.get("comment", b"")
    return content.getvalue()


@functools.cache
def zeros(megabytes: int) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.zeros(megabytes << 17))
    return file.getvalue()


def zipped_otherwise(content: bytes, rng: Random) -> bytes:
    items, how = list(entries_of(content).items()), rng.integers(10)
    i, j = rng.integers(len(items), size=2)
    if how == 0:
        kinds = [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
        return archive_of(items, compress_type=kinds[rng.integers(3)])
    if how == 1:
        items.append((items[i][0], items[j][1]))
    elif how == 2:
        items.append((str(rng.choice(["/", "a/", "../x.npy", "x.npy", "header"])), b""))
    elif how == 3:
        prefix = str(rng.choice(["/", "./", "a/", " ", "\u00e9"]))
        items[i] = (prefix + items[i][0], items[i][1])
    elif how == 4:
        suffix = str(rng.choice(["", ".NPY", ".npy.npy"]))
        items[i] = (items[i][0].removesuffix(".npy") + suffix, items[i][1])
    elif how == 5:
        rng.shuffle(items)  # pyright: ignore[reportArgumentType]
    elif how == 6:
        del items[i]
    elif how == 7:
        items[i] = (items[i][0], items[j][1])
    elif how == 8:
        return archive_of(items).replace(b"PK\x01\x02", b"PK\x02\x01", 1)
    else:
        return content[:-2] + b"\x05\x00hello"
    return archive_of(items)


def bomb(content: bytes, rng: Random) -> bytes:
    """A small archive of large zeros, or an array that claims to be large."""
    items = list(entries_of(content).items())
    i, how = rng.integers(len(items)), rng.integers(3)
    if how == 0:
        return small_bomb() if rng.random() < 0.5 else content + small_bomb()
    shapes = [
        "(1099511627776,)",
        "(4611686018427387904, 4)",
        "(-1,)",
        "(0, 9999999999)",
    ]
    shapes += ["(1048576, 1048576, 2)", f"({'1,' * 70})", f"(1{'0' * 400},)", "(True,)"]
    shape = shapes[rng.integers(len(shapes))] if how == 1 else "(3,)"
    items[i] = (items[i][0], with_shape(items[i][1], shape))
    return archive_of(items)


@functools.cache
def small_bomb() -> bytes:
    names = ["header.npy", "mean.npy", "images.npy", "labels.npy", "levels.npy"]
    return archive_of([(n, zeros(64)) for n in names], compress_type=8, compresslevel=1)


def with_shape(array: bytes, shape: str) -> bytes:
    claim = b"'shape': " + shape.encode()
    text = re.sub(rb"'shape': \([^)]*\)", claim, array[10:138], count=1)
    text = text.rstrip() + b" " * (127 - len(text.rstrip())) + b"\n"
    return array[:8] + struct.pack("<H", len(text)) + text + array[138:]


def npy_otherwise(content: bytes, rng: Random) -> bytes:
    """An array's own header: version, keys, code, spaces, type, length."""
    items = list(entries_of(content).items())
    i, how = rng.integers(len(items)), rng.integers(8)
    name, array = items[i]
    if how == 0:
        array = array[:6] + bytes([int(rng.choice([0, 2, 3, 9]))]) + array[7:]
    elif how == 1:
        array = array.replace(b"'descr'", b'"descr"', 1)
    elif how == 2:
        array = array.replace(b"False", b"True ", 1)
    elif how == 3:
        array = array.replace(
            b"'<f8'", rng.choice([b"'>f8'", b"'<i8'", b"'|O' ", b"'<m8'"]), 1
        )
    elif how == 4:
        array = array[:-8] if rng.random() < 0.5 else array + b"\0" * 8
    elif how == 5:
        array = array[:10] + b" " + array[10:127] + array[128:]
    elif how == 6:
        array = array.replace(b"{'descr'", b"{'a':1,'descr'", 1)
    else:
        array = pickle.dumps(array[:9]) if rng.random() < 0.5 else array[:6]
    items[i] = (name, array)
    return archive_of(items)


FIELDS = {  # offsets of fields that a forger changes, in local and central headers
    b"PK\x03\x04": [4, 6, 8, 10, 14, 18, 22, 26, 28, 30],
    b"PK\x01\x02": [4, 6, 8, 10, 12, 16, 20, 24, 28, 30, 32, 34, 36, 38, 42, 46],
    b"PK\x05\x06": [4, 6, 8, 10, 12, 16, 20],
}  # fmt: skip


def zip_fields(content: bytes, rng: Random) -> bytes:
    """One field of a zip header: flags, method, CRC, sizes, names, offsets."""
    signature = list(FIELDS)[rng.integers(3)]
    places = [m.start() for m in re.finditer(re.escape(signature), content)]
    place = places[rng.integers(len(places))] + int(rng.choice(FIELDS[signature]))
    values = [
        b"\x01\x00",
        b"\xff\xff",
        b"\x00\x00",
        b"\x08\x00",
        b"\xff\xff\xff\xff",
        b"\x01\x08",
    ]
    value = values[rng.integers(len(values))]
    if rng.random() < 0.4:
        value = bytes([content[place] ^ int(rng.choice([1, 2, 64]))])
    return content[:place] + value + content[place + len(value) :]


def overlapping(content: bytes, rng: Random) -> bytes:
    """Two entries of the directory that lead to one place."""
    places = [m.start() for m in re.finditer(b"PK\x01\x02", content)]
    i, j = rng.integers(len(places), size=2)
    forged = bytearray(content)
    parts = [slice(42, 46), slice(16, 28)] if rng.random() < 0.5 else [slice(42, 46)]
    for part in parts:
        start, stop = part.start, part.stop
        forged[places[i] + start : places[i] + stop] = content[
            places[j] + start : places[j] + stop
        ]
    return bytes(forged)


TEXTS = {
    "text: " + function.__name__.replace("_", " "): function
    for function in (
        bytes_changed, cut, lengthened, written_otherwise, numbers_otherwise,
        keys_twice, encoded_otherwise, nested_deeply, lines_rearranged,
    )
}  # fmt: skip
CONTAINERS = {
    "archive: " + function.__name__.replace("_", " "): function
    for function in (
        bytes_changed, cut, lengthened, zipped_otherwise, bomb, npy_otherwise,
        zip_fields, overlapping,
    )
}  # fmt: skip
