"""Times lipjax and a PyTorch baseline, in turn, in one process on one machine.

    python -m experiments.benchmark                     on a CPU, thirteen minutes
    python -m experiments.benchmark --suite=gpu         on a GPU, some ten minutes
    python -m experiments.benchmark --baseline=none     without PyTorch
    python -m experiments.benchmark --suite=lowerings   single convolutions
    python -m experiments.benchmark --suite=rules       a step by each gradient rule
    python -m experiments.benchmark --suite=gradients   errors of the gradient rules
    python -m experiments.benchmark --only='train.*batch 32'

Measures training steps, evaluation and certification of untrained networks on random
bytes: median and range of the times, images a second, the share of the time that the
needed arithmetic takes, memory, and compilation. Writes a folder with results.json,
tables.md and bars.png, the first two after every setting, so that Ctrl-C keeps the
settings that are done; the same command with its --out measures the others. Other work
on the machine changes the figures.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
from absl import flags

from ..common.errors import UserError
from ..common.files import write_bytes, write_json
from ..common.flags import matching, run
from ..reporting.tables import duration
from . import bars, gradient_errors, lipjax_jobs, machine, tables
from .measurement import measure
from .settings import Setting
from .suites import SUITES, Suite
from .timing import best_rate

FLAGS = flags.FLAGS
_GRADIENTS = "gradients"
_RESULTS = "results.json"


def main() -> None:
    suite = None if FLAGS.suite == _GRADIENTS else _chosen(SUITES[FLAGS.suite]())
    with_torch = suite is not None and any(map(_has_baseline, suite.settings))
    torch = _import_torch() if with_torch else None
    if FLAGS.suite == "gpu" and jax.default_backend() == "cpu":
        raise UserError("--suite=gpu: JAX sees no GPU here")
    path, results = _opened(_machine(torch))
    print(f"{path}: {machine.sentence(results['machine'])}", flush=True)
    _write(path, results)
    try:
        if suite is None:
            results["gradient_errors"] = results["gradient_errors"] or list(
                gradient_errors.errors()
            )
        else:
            _measure(path, results, suite, torch)
    finally:
        _write(path, results)
        bars.draw(path / "bars.png", results)
        print(f"In {path}: {', '.join(sorted(f.name for f in path.iterdir()))}")


def _chosen(suite: Suite) -> Suite:
    """The suite with the settings and implementations that the flags ask for."""
    only = matching(FLAGS.only, list(map(_name, suite.settings)))
    settings = [s for s in suite.settings if only.search(_name(s))]
    if FLAGS.baseline == "none":
        settings = [
            s._replace(variants=tuple(v for v in s.variants if not v.is_torch))
            for s in settings
        ]
    return suite._replace(settings=tuple(settings))


def _name(setting: Setting) -> str:
    return f"{setting.job}, {setting.name}, {setting.dtype}"


def _has_baseline(setting: Setting) -> bool:
    return any(variant.is_torch for variant in setting.variants)


def _import_torch() -> Any:
    """The module of PyTorch's jobs, with PyTorch set up to run beside JAX."""
    # Its threads would spin at a barrier, on cores that lipjax uses in its turn.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.45")
    try:
        from . import torch_jobs
    except ImportError as error:
        raise UserError(
            f"the baseline needs PyTorch ({error}): pip install torch, or leave it out "
            "with --baseline=none"
        ) from error
    if jax.default_backend() == "gpu" and torch_jobs.DEVICE == "cpu":
        raise UserError("PyTorch sees no GPU, JAX does: --baseline=none leaves it out")
    torch_jobs.set_up()
    return torch_jobs


def _opened(described: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The folder, a new one or that of an earlier command, and its results so far."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path(FLAGS.out or f"benchmarks/{FLAGS.suite}-{stamp}")
    results = {"suite": FLAGS.suite, "machine": described}
    results |= {"rates": {}, "rows": [], "gradient_errors": [], "not_measured": []}
    if path.exists():
        return path, results | _earlier(path, described)
    path.mkdir(parents=True)
    return path, results


def _earlier(path: Path, described: dict[str, Any]) -> dict[str, Any]:
    """What a folder has; it must be of the same suite, code and device."""
    try:
        earlier = json.loads((path / _RESULTS).read_text())
        same = earlier["suite"] == FLAGS.suite and all(
            earlier["machine"][name] == described[name]
            for name in ("commit", "accelerator", "cores")
        )
        found = {name: earlier[name] for name in ("rates", "rows", "gradient_errors")}
    except (OSError, ValueError, KeyError, TypeError):
        same, found = False, {}
    if not same:
        raise UserError(
            f"--out={path} exists, without results of this suite, commit and device: "
            "name a new folder"
        )
    return found


def _machine(torch: Any) -> dict[str, Any]:
    threads = torch.threads() if torch else None
    return machine.describe("experiments.benchmark") | {"torch_threads": threads}


def _measure(path: Path, results: dict[str, Any], suite: Suite, torch: Any) -> None:
    """Measures what is left of the settings, and writes the results after each."""
    done = {f"{r['job']}, {r['setting']}, {r['dtype']}" for r in results["rows"]}
    suite = suite._replace(
        settings=tuple(s for s in suite.settings if _name(s) not in done)
    )
    names = [_name(setting) for setting in suite.settings]
    results["not_measured"] = list(names)
    dtypes = {s.dtype for s in suite.settings} - {"float64", *results["rates"]}
    jobs = [lipjax_jobs, torch] if torch else [lipjax_jobs]
    for dtype in sorted(dtypes):
        products = [job.product(dtype, suite.product) for job in jobs]
        rate = best_rate(products, suite.product)
        results["rates"][dtype] = rate
        print(f"best product, {dtype}: {rate / 1e9:,.0f}e9 multiply-adds/s", flush=True)
    variants = [len(setting.variants) for setting in suite.settings]
    begin = time.perf_counter()
    for n, setting in enumerate(suite.settings):
        if torch:
            torch.forget_compilations()
        found = measure(setting, suite.rounds, results["rates"])
        results["rows"] += map(dataclasses.asdict, found)
        results["not_measured"].remove(names[n])
        _write(path, results)
        taken = time.perf_counter() - begin
        left = taken / sum(variants[: n + 1]) * sum(variants[n + 1 :])
        times = ", ".join(f"{1e3 * one.seconds:,.4g}" for one in found if one.seconds)
        print(
            f"[{n + 1}/{len(names)}] {names[n]}: {times} ms; {duration(left)} left",
            flush=True,
        )


def _write(path: Path, results: dict[str, Any]) -> None:
    write_json(path / _RESULTS, results)
    write_bytes(path / "tables.md", tables.document(results).encode())


if __name__ == "__main__":
    flags.DEFINE_enum("suite", "cpu", [*SUITES, _GRADIENTS], "what to measure")
    flags.DEFINE_enum(
        "baseline", "torch", ["torch", "none"], "what to time beside lipjax"
    )
    flags.DEFINE_string("only", None, "regular expression: settings to measure")
    flags.DEFINE_string("out", None, "new folder; else benchmarks/SUITE-TIME")
    run(main, __doc__ or "")
