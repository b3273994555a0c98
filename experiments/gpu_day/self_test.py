"""Compares what this device computes with a CPU in float64, and writes it as JSON.

    python -m experiments.gpu_day.self_test --out=self-test.json

Losses and gradients of networks on random images, in float32 and bfloat16, by every
gradient rule. --run adds the certificates of a run, which `lipjax/verify.py` checks in
NumPy; --golden the logits that the published PyTorch code gave, from files as
lipconvnet_lln_max_maxmin_5.npz (the published names of head, pooling and activation;
entries: x, logits and the state dict under param/). Each comparison is written when it
is made; the same command makes those that are missing or were wrong. The exit code is 1
if any is further off than its limit.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from lipjax.convert import from_torch
from lipjax.verify import Rejected, verify

from ..benchmark import machine
from ..benchmark.inputs import initial_state, random_data
from ..benchmark.tables import table
from ..common.errors import UserError
from ..common.files import write_json
from ..common.flags import run
from ..configs import Config
from ..parallel.mesh import make_mesh
from ..training.gradients import make_gradient, make_loss
from ..training.model import build
from .steps import read

FLAGS = flags.FLAGS

_IMAGES = 16
_CORES = 4
"""Cores of a comparison: compilation, most of its time, uses several."""
_LIMITS = {"float32": (1e-5, 1e-4), "bfloat16": (2e-2, 0.2)}
"""Largest relative errors of a loss and a gradient, ten times those seen. 1e-4 tells
float32 from TF32: with factors of 11 bits some pairs of MaxMin change places, and each
changes its share of the gradient entirely."""
_GOLDEN = re.compile(r"lipconvnet_(.+)_([^_]+)_([^_]+)_\d+")


class Check(NamedTuple):
    """A comparison.

    Attributes:
      name: what is compared.
      error: how far it is off; relative, in l2.
      limit: how far it may be.
      note: more, in words.
    """

    name: str
    error: float
    limit: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is not too far off; NaN is."""
        return self.error <= self.limit

    @property
    def job(self) -> str:
        """What it is a part of."""
        return self.name.partition(": ")[0]


def main() -> None:
    out = Path(FLAGS.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    described = machine.describe("experiments.gpu_day.self_test")
    found = _earlier(out, described)
    done = {one.job for one in found}
    left = {name: job for name, job in _jobs() if name not in done}
    _write(out, described, found, left)
    with ThreadPoolExecutor(max(1, machine.cores() // _CORES)) as pool:
        names = {pool.submit(job): name for name, job in left.items()}
        for future in as_completed(names):
            found += future.result()
            del left[names[future]]
            _write(out, described, found, left)
            for one in future.result():
                print(_table([one]).splitlines()[-1], flush=True)
    sys.exit(not all(one.passed for one in found))


def _earlier(out: Path, described: dict[str, Any]) -> list[Check]:
    """What an earlier command found to be right, with this code and device."""
    results = read(out)
    same = ("commit", "accelerator")
    if not results or any(results["machine"][n] != described[n] for n in same):
        return []
    found = [Check(**{n: row[n] for n in Check._fields}) for row in results["checks"]]
    wrong = {one.job for one in found if not one.passed}
    return [one for one in found if one.job not in wrong]


def _write(
    out: Path, described: dict[str, Any], found: list[Check], left: Iterable[str]
) -> None:
    rows = [one._asdict() | {"passed": one.passed} for one in found]
    write_json(out, {"machine": described, "checks": rows, "left": list(left)})


def _table(checks: list[Check]) -> str:
    columns: dict[str, Any] = {
        "compared": lambda one: one.name,
        "off by": lambda one: f"{one.error:.1e}",
        "limit": lambda one: f"{one.limit:.1e}",
        "": lambda one: "ok" if one.passed else "**too far**",
    }
    return table(columns, checks)


def _jobs() -> Iterator[tuple[str, Callable[[], list[Check]]]]:
    """What is to be compared, by name, the quickest first."""
    if FLAGS.run:
        folder = Path(FLAGS.run)
        yield certificates_of(folder), lambda: [certificate_check(folder)]
    if FLAGS.golden:
        files = sorted(Path(FLAGS.golden).glob("lipconvnet_*.npz"))
        if not files:
            raise UserError(f"--golden={FLAGS.golden} has no lipconvnet_*.npz")
        for file in files:
            yield file.stem, functools.partial(_golden_checks, file)
    for name, config in _networks():
        job = functools.partial(gradient_checks, name, config, FLAGS.side)
        yield f"{name}, {config.dtype}", job


def _networks() -> Iterator[tuple[str, Config]]:
    """Networks with every convolution, every head and every gradient rule."""
    stages = min(5, (FLAGS.side & -FLAGS.side).bit_length() - 1)
    plain = Config(depth=stages, width=FLAGS.width, batch_size=_IMAGES)
    change = functools.partial(dataclasses.replace, plain)
    crc = {"head": "curvature", "hidden": 256, "curvature_penalty": 0.1}
    crc |= {"pooling": "projection", "activation": "householder2"}
    yield "SOC", plain
    yield "SOC", change(dtype="bfloat16")
    yield "SOC, gradient low_rank", change(gradient="low_rank")
    yield "SOC, gradient exact", change(gradient="exact")
    yield "SOC, orthogonal head", change(head="orthogonal")
    yield "SOC, curvature head", change(**crc)
    yield "SOC, curvature head", change(**crc, dtype="bfloat16")
    for conv in ("bcop", "cayley", "reflector"):
        yield conv, change(conv=conv)


def gradient_checks(name: str, config: Config, side: int) -> list[Check]:
    """Loss and gradient in the config's dtype, against float64 on the CPU.

    Example:
      >>> checks = gradient_checks("", Config(depth=2, width=2, batch_size=4), side=4)
      >>> [one.passed for one in checks]
      [True, True]
    """
    data = random_data(config.batch_size, side)
    state = initial_state(config, data)
    batch = (data.train.images / np.float32(data.levels), data.train.labels)
    here, cpu = jax.devices()[:1], jax.local_devices(backend="cpu")[:1]
    found = _gradient(config, data, config.dtype, here, state.variables, batch)
    with jax.enable_x64(True):
        doubled = jax.tree.map(_doubled, (state.variables, batch))
        exact = _gradient(config, data, "float64", cpu, *doubled)
    parts = zip(("loss", "gradient"), found, exact, _LIMITS[config.dtype], strict=True)
    return [
        Check(f"{name}, {config.dtype}: {part}", _off(ours, theirs), limit)
        for part, ours, theirs, limit in parts
    ]


def _doubled(value: Any) -> Any:
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _gradient(
    config: Config, data: Any, dtype: str, devices: Any, variables: Any, batch: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The loss, and its gradient in all parameters, one after the other."""
    model = build(config, data).clone(dtype=jnp.dtype(dtype))
    if dtype == "float64":
        model = model.clone(param_dtype=jnp.dtype(dtype))
    mesh = make_mesh(1, devices)
    options = {}
    if devices[0].platform == "cpu":  # two thirds of the seconds are the compiler's
        options = {"xla_backend_optimization_level": 0}
    with jax.default_device(devices[0]):
        function = make_gradient(make_loss(model, config), mesh, 1)
        gradient = jax.jit(function, compiler_options=options)
        params, spectral = variables["params"], variables.get("spectral", {})
        found = gradient(params, spectral, *batch, 0.0)
    leaves = map(np.ravel, jax.tree.leaves(jax.device_get(found.grads)))
    return np.asarray(found.loss), np.concatenate(list(leaves))


def _off(found: np.ndarray, exact: np.ndarray) -> float:
    """The relative error in l2."""
    difference = np.linalg.norm(np.asarray(found, np.float64) - exact)
    return float(difference / max(np.linalg.norm(exact), np.finfo(np.float32).tiny))


def golden_check(path: Path) -> Check:
    """Logits of a published network against those that the published code gave."""
    name = _GOLDEN.fullmatch(path.stem)
    if not name:
        raise UserError(f"{path}: its name has no head, pooling and activation")
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    state = {k.removeprefix("param/"): v for k, v in arrays.items() if "param/" in k}
    kinds = {"head": name[1], "pooling": name[2], "activation": name[3]}
    model, variables = from_torch(state, **kinds)
    x = np.moveaxis(arrays["x"], 1, -1)
    logits = jax.jit(model.apply)(variables, x)
    # float32: some 1e-5, as the tests find; the published code rounds as well
    return Check(f"{path.stem}: logits", _off(logits, arrays["logits"]), 1e-4)


def _golden_checks(path: Path) -> list[Check]:
    return [golden_check(path)]


def certificates_of(folder: Path) -> str:
    """The name of the check of a run's certificates."""
    return f"certificates of {folder.name}"


def certificate_check(folder: Path) -> Check:
    """Whether the checker, in NumPy, accepts the certificates of a run."""
    files = ("certificates.jsonl", "model.npz", "images.npz")
    name = certificates_of(folder)
    try:
        report = verify(*(folder / file for file in files))
    except (Rejected, ValueError) as error:
        return Check(name, float("inf"), 0.0, " ".join(str(error).split()))
    return Check(name, 0.0, 0.0, f"all {report.certificates:,} accepted")


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "JSON file", required=True)
    flags.DEFINE_integer("width", 32, "channels after the initial layer", 2)
    flags.DEFINE_integer("side", 32, "side of the images in pixels", 2)
    flags.DEFINE_string("run", None, "folder of a run with certificates")
    flags.DEFINE_string("golden", None, "folder of golden files")
    run(main, __doc__ or "")
