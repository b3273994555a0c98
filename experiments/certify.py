"""Certifies the test images of a finished run.

    python -m experiments.certify --run=runs/NAME

writes RUN/certificates.jsonl (a line per image: index, label, prediction, radius,
runner_up) and RUN/radii.png, and prints certified robust accuracy at the six standard
radii. Radii are l2, in pixels of [0, 1].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from lipjax import certificate_constants

from . import report
from .data import Dataset, load
from .errors import UserError
from .evaluation import Evaluator, summarize
from .files import write_json, write_json_lines
from .flags import run
from .runs import Run
from .training import State, Trainer

FLAGS = flags.FLAGS
_CAVEAT = (
    "Radii hold in exact\narithmetic (layer norms proven); the rounding of the float32 "
    "execution is not\ncounted, so every figure is an estimate."
)


def certify(folder: Run, state: State, data: Dataset) -> None:
    """Writes the certificates and the picture of a run's test images; prints CRA."""
    print("\nBounding the layers' norms ...", flush=True)
    constants = certificate_constants(folder.model, state.variables)
    evaluator = Evaluator(folder.model, data.levels)
    with tqdm(total=len(data.test), unit="image", disable=None, leave=False) as bar:
        prediction, radius, runner_up = evaluator.radii(
            state.variables, data.test, constants, bar.update
        )
    labels = data.test.labels
    summary = summarize(prediction, radius, labels)
    correct = prediction == labels
    write_json_lines(
        folder.path / "certificates.jsonl",
        (
            {
                "index": i,
                "label": int(labels[i]),
                "prediction": int(prediction[i]),
                "radius": float(radius[i]) if correct[i] else 0.0,
                "runner_up": int(runner_up[i]),
            }
            for i in range(len(labels))
        ),
    )
    figures = {"accuracy": summary.accuracy, "mean_radius": summary.mean_radius}
    figures |= dict(zip(report.RADIUS_NAMES, summary.cra, strict=True))
    write_json(folder.path / "test.json", figures)
    title = f"{data.name}: {len(labels)} test images, estimate"
    certified = np.where(correct, radius, -1)
    report.draw_radii(folder.path / "radii.png", certified, title)
    print(f"{len(labels)} test images of {data.name}: certified robust accuracy, %,")
    print("at l2 radii in pixels of [0, 1] (estimate)\n")
    print(report.summary_table(summary))
    print(f"\nThe features are {constants.lipschitz:.6f}-Lipschitz. {_CAVEAT}")
    print(f"In {folder.path}: certificates.jsonl, test.json, radii.png")


def main() -> None:
    if not FLAGS.run:
        raise UserError("say which run with --run=DIR")
    folder = Run.open(Path(FLAGS.run))
    config = folder.config
    data = load(config.data, data_dir=config.data_dir, validation=config.validation)
    _, state = folder.restore(FLAGS.checkpoint, Trainer(config, data).like())
    certify(folder, state, data)


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "folder of the run")
    flags.DEFINE_enum("checkpoint", "last", ["last", "best"], "which of its weights")
    run(main, __doc__ or "")
