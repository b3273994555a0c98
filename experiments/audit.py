"""Tells what is proven of every layer of a run's network.

    python -m experiments.audit --run=runs/NAME
    python -m experiments.audit --run=runs/NAME --out=audit.json

Prints a table: the proven Lipschitz constant of every layer in evaluation, the proven
norm of every skew convolution, the constant of the polynomial of training, and which
layers expand. A checkpoint of the published code becomes a run by
`python -m experiments.convert`.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from lipjax import audit

from .common.errors import UserError
from .common.files import write_json
from .common.flags import run
from .training.run_folder import RunFolder

FLAGS = flags.FLAGS


def main() -> None:
    folder = RunFolder.open(Path(FLAGS.run))
    state = folder.checkpoints().restore(FLAGS.checkpoint).state
    try:
        found = audit(folder.model, state.variables)
    except ValueError as error:
        raise UserError(f"{folder.path} cannot be proven: {error}") from error
    print(found)
    if FLAGS.out:
        write_json(Path(FLAGS.out), found.to_json())


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "folder of the run", required=True)
    flags.DEFINE_enum(
        "checkpoint", "last", ["last", "best"], "which weights of the run"
    )
    flags.DEFINE_string("out", None, "JSON file of the same")
    run(main, __doc__ or "")
