"""Changes of honest proofs at the edges of what the checker accepts.

Each has a name, a change of a proof in place, and whether the result is accepted. Names
that begin with "layer:" are changes of a proof with skew convolutions, with "plain:" of
one with others; the rest, of one with a curvature head.
"""

import signal
from collections.abc import Callable
from typing import Any

import numpy as np

from helpers.small_proofs import Proof

ULP = 2.0**-52
EDGES: dict[str, tuple[Callable[[Proof], Any], bool]] = {}


def edge(name: str, accepted: bool = False) -> Any:
    def keep(change: Any) -> Any:
        EDGES[name] = change, accepted
        return change

    return keep


def field(name: str, key: str, value: Any, word: str = "layer") -> None:
    """A field of the first layer."""

    def change(proof: Proof) -> None:
        proof.header["layers"][0][key] = value

    EDGES[f"{word}: {name}"] = change, False


def array(name: str, key: str, value: Any, accepted: bool = False) -> None:
    """An array of the model, or of the images, by a function of what it was."""

    def change(proof: Proof) -> None:
        group = proof.data if key in proof.data else proof.arrays
        group[key] = value(group.get(key))

    EDGES[name] = change, accepted


def radius(name: str, value: float, accepted: bool = False) -> None:
    """All radii of all certificates."""

    def change(proof: Proof) -> None:
        for row in proof.rows:
            row["radius"] = value if row["classes"] else 0.0
            for entry in row["classes"].values():
                entry["radius"] = value

    EDGES[name] = change, accepted


def put(place: Any, value: Any) -> Any:
    def change(x: np.ndarray) -> np.ndarray:
        x[place] = value
        return x

    return change


field("stride of 0", "stride", 0)
field("stride below 0", "stride", -1)
field("stride of float", "stride", 1.0)
field("stride that divides nothing", "stride", 3)


def coefficients(name: str, *values: Any, accepted: bool = False) -> None:
    key = "layers.0.coefficients"
    array(f"layer: {name}", key, lambda x: np.array(values), accepted)


coefficients("no coefficients")
coefficients("49 coefficients", 0.5, *[0.0] * 48, accepted=True)
coefficients("50 coefficients", 0.5, *[0.0] * 49)
coefficients("integer coefficients", 1, 0)
coefficients("a small coefficient", 0.5, 2.0**-300 * (1 - ULP))
coefficients("the least coefficient", 0.5, 2.0**-300, accepted=True)
coefficients("a large coefficient", 0.5, 2.0**300)
array("layer: lipschitz below 0", "layers.0.claims", put(1, -1.0))
array("layer: lipschitz of 2^300", "layers.0.claims", put(1, 2.0**300))
array("layer: norm of 2^300", "layers.0.claims", put(0, 2.0**300))
array("layer: three claims", "layers.0.claims", lambda x: np.append(x, x[0]))
array("layer: no bias", "layers.0.bias", lambda x: x[:0])
array("layer: one bias", "layers.0.bias", lambda x: x[:1])
array("layer: a bias too many", "layers.0.bias", lambda x: np.append(x, 0.0))
array("layer: an even kernel", "layers.0.kernel", lambda x: x[:2, :2])
array("layer: a narrow kernel", "layers.0.kernel", lambda x: x[:, :, :0, :0])
array("layer: a large bias", "layers.0.bias", put(0, 2.0**299.9))
array("layer: an infinite bias", "layers.0.bias", put(0, np.inf))
array("layer: a zero kernel", "layers.2.kernel", np.zeros_like, True)
array("layer: a kernel that is not skew", "layers.0.kernel", lambda x: x + 2.0**-52)
array("plain: a norm below 0", "layers.0.claims", put(0, -1.0))
array("plain: a norm of 0", "layers.0.claims", put(0, 0.0))
array("plain: a tiny norm", "layers.0.claims", put(0, 5e-324))
array("plain: a norm of NaN", "layers.0.claims", put(0, np.nan))
array("plain: two claims", "layers.0.claims", lambda x: np.append(x, x[0]))
array("plain: no claims", "layers.0.claims", lambda x: x[:0])
array("plain: no bias", "layers.0.bias", lambda x: x[:0])
array("plain: one bias", "layers.0.bias", lambda x: x[:1])
array("plain: a bias too many", "layers.0.bias", lambda x: np.append(x, 0.0))
array("plain: a kernel without rows", "layers.0.kernel", lambda x: x[:0])
array("plain: a kernel without columns", "layers.0.kernel", lambda x: x[:, :0])
array("plain: a kernel of three axes", "layers.0.kernel", lambda x: x[0])
array("plain: a kernel of fewer inputs", "layers.0.kernel", lambda x: x[:, :, :3])
array("plain: a kernel of fewer outputs", "layers.0.kernel", lambda x: x[..., :1])
array("plain: a kernel of integers", "layers.0.kernel", lambda x: x.astype(int))
array("plain: a zero kernel", "layers.0.kernel", np.zeros_like, True)
array("plain: coefficients", "layers.0.coefficients", lambda x: np.ones(1))
field("another padding", "kind", "circular convolution", word="plain")
field("stride that divides one side", "stride", 4, word="plain")
field("stride of 0 ", "stride", 0, word="plain")
array("another array", "extra", lambda x: np.zeros(1))
array("std of 0", "std", put(0, 0.0))
array("std below 0", "std", put(0, -0.5))
array("std of NaN", "std", put(0, np.nan))
array("std of 2^-301", "std", put(0, 2.0**-301))
array("a mean of 2^300", "mean", put(0, 2.0**300))
array("a mean that overflows", "mean", put(0, 2.0**299.9))
array(
    "a large curvature that nobody uses", "head.curvatures", put((0, 0), 2.0**299), True
)
array("a curvature of 2^300", "head.curvatures", put((0, 0), 2.0**300))
array("a hidden unit that overflows", "head.hidden_kernel", put((0, 0), 2.0**299.9))
array("a hidden bias that overflows", "head.hidden_bias", put(0, 2.0**299.99))
array("levels of 0", "levels", lambda x: np.array(0))
array("levels of 256", "levels", lambda x: np.array(256))
array("levels of float", "levels", lambda x: np.array(16.0))
array("levels of 15", "levels", lambda x: np.array(7))
array("levels as an array", "levels", lambda x: np.array([16]))
array("no images", "images", lambda x: x[:0])
array("labels of int32", "labels", lambda x: x.astype(np.int32))
array("a label too many", "labels", lambda x: np.append(x, 0))
array("images of int8", "images", lambda x: x.astype(np.int8))
radius("radii of 2^-100", 2.0**-100, True)
radius("radii of 2^-1022", 2.0**-1022, True)
radius("radii of -0.0", -0.0)
radius("radii of NaN", float("nan"))


@edge("data of another name")
def _data(proof: Proof) -> None:
    proof.data["extra"] = np.zeros(1)


@edge("model of another name")
def _model(proof: Proof) -> None:
    proof.arrays["extra"] = np.zeros(1)


@edge("another format")
def _format(proof: Proof) -> None:
    proof.header["format"] = "lipjax model 1"


@edge("one class")
def _one_class(proof: Proof) -> None:
    for name in ("head.kernel", "head.bias"):
        proof.arrays[name] = proof.arrays[name][..., :1]
    proof.arrays["head.curvatures"] = np.zeros((1, 1))


@edge("no hidden units")
def _no_units(proof: Proof) -> None:
    for name in ("head.hidden_kernel", "head.hidden_bias"):
        proof.arrays[name] = proof.arrays[name][..., :0]
    proof.arrays["head.kernel"] = np.zeros((0, 3))


@edge("a header of another type")
def _header(proof: Proof) -> None:
    import json

    proof.header = np.frombuffer(json.dumps(proof.header).encode(), np.int8)


@edge("nothing claimed", True)
def _nothing(proof: Proof) -> None:
    for row in proof.rows:
        row |= {"radius": 0.0, "classes": {}}


@edge("no classes, as a list")
def _no_classes(proof: Proof) -> None:
    for row in proof.rows:
        row |= {"radius": 0.0, "classes": []}


@edge("a prediction that ties, nearly")
def _prediction(proof: Proof) -> None:
    for row in proof.rows:
        row |= {"radius": 0.0, "classes": {}, "prediction": 2 - row["prediction"]}


@edge("a wrong prediction and a radius")
def _wrong(proof: Proof) -> None:
    row = proof.rows[0]
    row["label"] = proof.data["labels"][0] = (row["label"] + 1) % 3
    row["label"] = int(row["label"])


@edge("a class left out")
def _left_out(proof: Proof) -> None:
    row = proof.rows[0]
    del row["classes"][max(row["classes"], key=lambda t: row["classes"][t]["radius"])]


@edge("a label that is no class")
def _no_class(proof: Proof) -> None:
    proof.rows[3]["label"] = 3
    proof.data["labels"][3] = 3


@edge("a prediction that is no class")
def _no_prediction(proof: Proof) -> None:
    proof.rows[3]["prediction"] = -1


@edge("an image of no pixels")
def _no_pixels(proof: Proof) -> None:
    proof.header["image_shape"] = [1, 0, 2]
    proof.data["images"] = proof.data["images"][:, :, :0]


def delta(name: str, change: Callable[[str], str]) -> None:
    """The deltas of all dual certificates, in base64."""

    def forge(proof: Proof) -> None:
        for row in proof.rows:
            for entry in row["classes"].values():
                if "delta" in entry:
                    entry["delta"] = change(entry["delta"])
                    entry["eta"] /= 128  # proves something at delta = 0 as well

    EDGES[f"delta {name}"] = forge, False


delta("of one number", lambda text: "AAAAAA==")
delta("with a line break", lambda text: text + "\n")
delta("with a space", lambda text: f"{text[:4]} {text[4:]}")
delta("that is not finite", lambda text: "AACAf" + text[5:])


@edge("no curvature is needed", True)
def _flat(proof: Proof) -> None:
    """The predicted class has the largest weight of every unit: m = 0."""
    y = proof.rows[0]["prediction"]
    proof.rows = [row for row in proof.rows if row["prediction"] == y]
    proof.arrays["head.kernel"][:, y] += 10
    proof.arrays["head.curvatures"][:] = 0
    for row in proof.rows:
        if row["classes"]:
            row["radius"] = 1e-4
            row["classes"] = {t: {"radius": 1e-4} for t in row["classes"]}


class Pickled:
    """Unpickling it raises the signal that ends a mutant."""

    def __reduce__(self) -> Any:
        return signal.raise_signal, (signal.SIGPROF,)


array("a mean that is a pickle", "mean", lambda x: np.array([Pickled()], object))


@edge("layer: an odd number of channels")
def _odd(proof: Proof) -> None:
    proof.header["layers"].insert(0, {"kind": "maxmin", "stride": 1})


@edge("layer: what underflow loses")
def _underflow(proof: Proof) -> Proof:
    """Small layers, then one that brings it back to size: an issue's example."""
    powers = [(0, -244, 0), (0, -244, 0), (2, -536, 268), *[(0, 122, 0)] * 4]
    layers, arrays = [], {"mean": np.zeros(2), "std": np.ones(2)}
    up = 1 + 1e-9
    for i, (degree, coefficient, norm) in enumerate(powers):
        layers.append({"kind": "skew_convolution", "stride": 1})
        kernel = 2.0**norm * np.array([[0.0, 1.0], [-1.0, 0.0]])[None, None]
        arrays |= {f"layers.{i}.kernel": kernel, f"layers.{i}.bias": np.zeros(2)}
        values = np.array([0.0] * degree + [2.0**coefficient])
        claims = up * np.array([2.0**norm, 2.0 ** (coefficient + degree * norm)])
        arrays |= {f"layers.{i}.coefficients": values, f"layers.{i}.claims": claims}
    arrays |= {"head.kernel": np.eye(2), "head.bias": np.array([0.0, -0.25])}
    header = {"format": "lipjax model 2", "image_shape": [1, 1, 2], "layers": layers}
    images = np.array([200, 10], np.uint8).reshape(1, 1, 1, 2)
    data = {"images": images, "labels": np.zeros(1, np.int64), "levels": np.array(255)}
    entry = {"radius": 0.01}
    row = {"index": 0, "label": 0, "prediction": 0, "radius": 0.01}
    row |= {"model": "", "image": "", "classes": {"1": entry}}
    return Proof(header, arrays, data, [row])
