"""Ten minutes with a GPU: tests, timings, a profile, trainings, and a report of them.

    python -m experiments.gpu_day --minutes=8 --out=day --data=folder:cifar10.tar.xz
    python -m experiments.gpu_day --only='self-test|profile'
    python -m experiments.gpu_day --device=cpu --out=trial    all in miniature

The same command goes on with what is not finished: after --minutes, Ctrl-C, a kill or a
failure. In this order, each in a process of its own:

  digits       a network trained and certified on this device
  self-test    losses and gradients against a CPU in float64; the certificates by
               lipjax/verify.py; the published code's logits, if --golden names them
  benchmark    training steps, evaluation and certification beside PyTorch
  profile-...  the kernels of a step, with their share of the roofline
  LipConvNet-5, LipConvNet-15-curvature, best    200 epochs on CIFAR-10, certified
  tables/...   `python -m experiments.reproduce`, size cpu

Writes report.md after every step, for BENCHMARKS.md, and day.json. What a step prints
is in STEP.log. The exit code is 1 if a step has failed and nothing else is left.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ..common.children import run_child
from ..common.errors import UserError
from ..common.files import alone, write_json
from ..common.flags import matching, run
from ..common.signals import stopping
from ..reporting.tables import duration
from . import report
from .steps import Step, read, steps

FLAGS = flags.FLAGS
_DAY = "day.json"
_LOOK = (
    "import json; from {package}.benchmark import machine; "
    "print(json.dumps(machine.describe('experiments.gpu_day')))"
)


def main() -> None:
    begin = time.monotonic()
    if not FLAGS.minutes > 0:
        raise UserError(f"--minutes={FLAGS.minutes}: pass a positive number")
    if FLAGS.golden and not Path(FLAGS.golden).is_dir():
        raise UserError(f"--golden={FLAGS.golden} is not a folder")
    out = Path(FLAGS.out)
    day = steps(FLAGS.device, out, FLAGS.data, FLAGS.golden)
    only = matching(FLAGS.only, [one.name for one in day])
    chosen = [one for one in day if only.search(one.name)]
    described = _machine()
    print(f"{out}: {described['accelerator'] or described['cpu']}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    late = begin + 60 * FLAGS.minutes
    with stopping(late) as (due, signalled), alone(out) as held:
        states = _states(out, day)

        def written() -> None:
            write_json(out / _DAY, {"machine": described, "steps": states})
            report.write(out, day, states, described)

        written()
        for one in sorted(
            chosen, key=lambda one: states[one.name]["state"] == "failed"
        ):
            if states[one.name]["state"] != "finished" and not due():
                _do(one, out, states[one.name], due, held)
                written()
    _tell(out, [states[one.name] for one in chosen], signalled())


def _machine() -> dict[str, Any]:
    """The machine, by another process: this one leaves the GPU's memory to the steps.

    Raises:
      UserError: if it has not the device that was asked for.
    """
    if FLAGS.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    package = (__package__ or "").rpartition(".")[0]
    code = _LOOK.format(package=package)
    command = [sys.executable, "-c", code, *sys.argv[1:]]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        lines = found.stderr.strip().splitlines() or ["it says nothing"]
        raise UserError(f"JAX does not start: {lines[-1]}")
    described = json.loads(found.stdout)
    if FLAGS.device == "gpu" and described["platform"] == "cpu":
        raise UserError("JAX sees no GPU here: --device=cpu makes a trial in miniature")
    return described


def _states(out: Path, day: Sequence[Step]) -> dict[str, Any]:
    """The states of the steps, by name, with what an earlier command noted."""
    states, earlier = {}, (read(out / _DAY) or {}).get("steps", {})
    for one in day:
        before = earlier.get(one.name, {"state": "not run", "reason": "", "seconds": 0})
        done = one.is_done(one.folder(out))
        kept = "started" if before["state"] == "finished" else before["state"]
        states[one.name] = before | {"state": "finished" if done else kept}
    return states


def _do(
    one: Step, out: Path, state: dict[str, Any], due: Callable[[], bool], held: int
) -> None:
    """Runs a step, until it ends or is due to stop, and notes its state."""
    begin = time.monotonic()
    one.log(out).parent.mkdir(parents=True, exist_ok=True)
    print(f"{one.name}: {one.log(out)}", flush=True)
    end = run_child(one.program, one.flags, one.log(out), due, held)
    state["seconds"] += time.monotonic() - begin
    done = one.is_done(one.folder(out))
    failed = end.code and not end.stopped
    state["state"] = "failed" if failed else "finished" if done else "started"
    state["reason"] = end.reason if failed else ""
    told = f": {state['reason']}" * bool(failed)
    print(f"    {state['state']}{told}; {duration(state['seconds'])}", flush=True)


def _tell(out: Path, states: Sequence[dict[str, Any]], number: int) -> None:
    """Says how far the day is; exits as the signal or the failures want."""
    names = [state["state"] for state in states]
    left = sum(name in ("started", "not run") for name in names)
    print(f"{out / report.REPORT}: {names.count('finished')} of {len(names)} finished")
    if left:
        print("Stopped and saved. The same command goes on.", flush=True)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if "failed" in names and not left:
        sys.exit(1)


if __name__ == "__main__":
    flags.DEFINE_float("minutes", math.inf, "save and stop after so many minutes")
    flags.DEFINE_string("out", "runs/gpu-day", "folder of the day")
    flags.DEFINE_string("data", "cifar10", "data set, as of experiments.train")
    flags.DEFINE_string("golden", None, "folder of the published code's results")
    flags.DEFINE_enum("device", "gpu", ["gpu", "cpu"], "cpu: a trial in miniature")
    flags.DEFINE_string("only", None, "regular expression: which steps to run")
    run(main, __doc__ or "")
