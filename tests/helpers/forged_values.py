"""Numbers, JSON values and arrays that the forger puts where others belong."""

import struct
from typing import Any

import numpy as np

Random = np.random.Generator

ULP = 2.0**-52
FACTORS = [1 + ULP, 1 + 1e-12, 1 + 2e-9, 1 + 1e-6, 1.01, 2.0, 10.0]
ODD = [
    0, 0.0, -0.0, -1, 1, 1.0, True, False, None, float("nan"), float("inf"),
    -float("inf"), 5e-324, 2.0**-100, 2.0**-101, 2.0**300, 2.0**299, 1e308, 2**63,
    2**64, 10**400, "", "0", "0.1", "closed", "dual", "\ud800", "x\ny", [], {}, [0.5],
    {"radius": 0.5},
]  # fmt: skip


def scaled(x: float, factor: float) -> float:
    """x factor; the next number if the factor is 1 + ulp."""
    return float(np.nextafter(x, np.inf)) if factor == 1 + ULP else float(x * factor)


def forged_number(x: float, rng: Random) -> Any:
    how = rng.integers(7)
    if how == 0:
        return float(np.nextafter(x, rng.choice([-np.inf, np.inf])))
    if how == 1:
        return x * float(rng.choice(FACTORS))
    if how == 2:
        return -x
    if how == 3:
        bits = struct.unpack("<Q", struct.pack("<d", x))[0] ^ (
            1 << int(rng.integers(64))
        )
        return struct.unpack("<d", struct.pack("<Q", bits))[0]
    if how == 4:
        return [x, str(x), [x], {"": x}, bool(x)][rng.integers(5)]
    if how == 5:
        return int(x) if np.isfinite(x) else 0
    return ODD[rng.integers(len(ODD))]


def forged_tree(tree: Any, rng: Random) -> None:
    """Changes one random node of a JSON value, in place."""
    places = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            places.append((node, key))
            if isinstance(value, (dict, list, tuple)):
                walk(value)

    walk(tree)
    if not places:
        return
    node, key = places[rng.integers(len(places))]
    other, place = places[rng.integers(len(places))]
    how = rng.integers(10)
    if how < 5:
        value = node[key]
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        odd = ODD[rng.integers(len(ODD))]
        node[key] = (
            forged_number(float(value), rng) if plain and abs(value) < 1e300 else odd
        )
        if plain and isinstance(value, int) and rng.random() < 0.5:
            node[key] = value + int(rng.choice([-1, 1, 2**32]))
    elif how == 5:
        del node[key]
    elif how == 6 and isinstance(node, dict):
        node["extra" if rng.random() < 0.5 else f"{key} "] = node[key]
    elif how == 7 and isinstance(node, dict):  # the order
        node[key] = node.pop(key)
    elif how == 8 and isinstance(node, dict):  # another name
        node[str(key).upper()] = node.pop(key)
    elif not nested(node[key], other) and not nested(other[place], node):
        node[key], other[place] = other[place], node[key]


def nested(tree: Any, inner: Any) -> bool:
    if tree is inner:
        return True
    values = tree.values() if isinstance(tree, dict) else tree
    return isinstance(tree, (dict, list, tuple)) and any(
        nested(v, inner) for v in values
    )


def forged_array(x: np.ndarray, rng: Random) -> np.ndarray:
    how = rng.choice(["value", "dtype", "shape", "order"], p=[0.4, 0.3, 0.25, 0.05])
    if how == "value" and x.size:
        return changed_value(x, rng)
    if how == "dtype":
        return other_dtype(x, rng)
    if how == "order":
        return np.asfortranarray(x) if rng.random() < 0.7 else np.flip(x)
    return other_shape(x, rng)


def changed_value(x: np.ndarray, rng: Random) -> np.ndarray:
    x = x.copy()
    flat = x.reshape(-1)
    i, j = rng.integers(x.size, size=2)
    if x.dtype != np.float64:
        flat[i] = rng.integers(0, 256) if x.dtype == np.uint8 else rng.integers(-3, 300)
        return x
    how = rng.integers(5)
    if how == 0:
        flat[i] = flat[j]
    elif how == 1:
        flat *= rng.choice(
            [1 + ULP, 1 + 1e-9, -1.0, 0.0, 2.0**-1000, 2.0**1000, 2.0**200]
        )
    elif how == 2:
        value = forged_number(float(flat[i]), rng)
        flat[i] = value if isinstance(value, float) else 0.0
    else:
        flat[i] = rng.choice(
            [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1e308, 2.0**299]
        )
    return x


def other_dtype(x: np.ndarray, rng: Random) -> np.ndarray:
    kinds = (
        "? b u1 i2 >i8 u8 f2 f4 >f8 g c16 m8 m8[s] M8[ns] S8 U4 O V8 struct sub".split()
    )
    kind = kinds[rng.integers(len(kinds))]
    with np.errstate(all="ignore"):
        if kind == "struct":
            return x.view([("x", x.dtype)]) if x.ndim and x.size else x[..., None]
        if kind == "sub":
            return np.zeros(x.shape, [("", "f8", (2,))])
        if kind == "V8":
            return np.ascontiguousarray(x).view(f"V{x.dtype.itemsize}") if x.ndim else x
        if kind in ("m8", "m8[s]", "M8[ns]", "u1", "b", "i2", ">i8", "u8"):
            return np.nan_to_num(x).astype(np.int64).astype(kind)
        return x.astype(kind)


def other_shape(x: np.ndarray, rng: Random) -> np.ndarray:
    how = rng.integers(9)
    if how == 0:
        return x[None]
    if how == 1:
        return x[..., None]
    if how == 2:
        return x.reshape(-1)
    if how == 3:
        return x[..., :0] if x.ndim else np.zeros(0, x.dtype)
    if how == 4:
        return x[0] if len(x.shape) and len(x) else x[None]
    if how == 5:
        return x.T
    if how == 6 and x.ndim:
        axis = int(rng.integers(x.ndim))
        return np.concatenate([x, x], axis)
    if how == 7 and x.ndim:
        return x[:-1]
    return (
        np.zeros((0,) * x.ndim, x.dtype)
        if rng.random() < 0.5
        else x.sum(keepdims=False)
    )
