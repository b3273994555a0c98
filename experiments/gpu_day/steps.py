"""What a day consists of, in order: programs, each with its folder."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_TABLES = ("heads", "pooling", "gradients", "convolutions", "activations", "losses")


class Step(NamedTuple):
    """A program to run until its folder has what it should.

    Attributes:
      name: of the step; also that of its folder, and NAME.log of its output.
      program: of ours, as "train".
      flags: its flags.
      is_done: whether its folder is complete.
    """

    name: str
    program: str
    flags: list[str]
    is_done: Callable[[Path], bool]

    def folder(self, out: Path) -> Path:
        """Its folder in that of the day."""
        return out / self.name

    def log(self, out: Path) -> Path:
        """What it printed."""
        return out / f"{self.name}.log"


def steps(device: str, out: Path, data: str, golden: str | None) -> list[Step]:
    """The steps of a day with a GPU, or of a trial with a CPU, where all is tiny.

    Args:
      device: "gpu" or "cpu".
      out: the folder of the day.
      data: the data set of the trainings on a GPU.
      golden: a folder of golden files, or None.
    """
    trial = device == "cpu"
    torch = "torch" if importlib.util.find_spec("torch") else "none"
    tiny = ["--depth=3", "--width=4", "--batch_size=32"]
    digits = ["--preset=digits", "--width=4", f"--epochs={2 if trial else 20}"]
    test = [f"--run={out / 'digits'}"] + ["--width=2", "--side=8"] * trial
    test += [f"--golden={golden}"] if golden else []
    suite = "quick" if trial else "gpu"
    found = [
        Step("digits", "train", digits + _run(out, "digits"), _has("test.json")),
        Step(
            "self-test",
            "gpu_day.self_test",
            [*test, f"--out={out / 'self-test' / RESULTS}"],
            _all_right,
        ),
        Step(
            "benchmark",
            "benchmark",
            [f"--suite={suite}", f"--baseline={torch}", f"--out={out / 'benchmark'}"],
            _all_measured,
        ),
    ]
    for name, flags in PROFILES.items():
        flags = [*tiny, "--side=8", "--images=256", "--steps=3"] if trial else flags
        name = f"profile-{name}"
        place = f"--out={out / name}"
        found.append(
            Step(name, "gpu_day.profile", [*flags, place], _has("profile.json"))
        )
    for name, flags in TRAININGS.items():
        chosen = [*flags, f"--data={data}", "--dtype=bfloat16"]
        if trial:
            chosen = ["--preset=digits", *tiny, "--epochs=2"]
        found.append(Step(name, "train", chosen + _run(out, name), _has("test.json")))
    for name in _TABLES[1:2] if trial else _TABLES:
        size = ["--size=smoke"] if trial else ["--size=cpu", f"--data={data}"]
        place = [f"--table={name}", f"--out={out / 'tables'}"]
        found.append(Step(f"tables/{name}", "reproduce", size + place, _all_finished))
    return found


PROFILES: Mapping[str, list[str]] = {
    "depth-5": ["--preset=lipconvnet", "--dtype=bfloat16"],
    "depth-5-float32": ["--preset=lipconvnet"],
    "depth-15-curvature": ["--preset=lipconvnet_crc", "--dtype=bfloat16"],
}
"""Flags of `experiments.gpu_day.profile`, by name."""

TRAININGS: Mapping[str, list[str]] = {
    "LipConvNet-5": ["--preset=lipconvnet"],
    "LipConvNet-15-curvature": ["--preset=lipconvnet_crc"],
    "best": ["--preset=best", "--width=32", "--epochs=200", "--augment"],
}
"""Flags of `experiments.train`, by name; all for 200 epochs at the published width."""

RESULTS = "results.json"


def _run(out: Path, name: str) -> list[str]:
    return [f"--run={out / name}"]


def _has(name: str) -> Callable[[Path], bool]:
    return lambda folder: (folder / name).exists()


def read(path: Path) -> Any:
    """A JSON document; None if there is none, or a program was killed in making it."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _all_right(folder: Path) -> bool:
    results = read(folder / RESULTS)
    rows = results["checks"] if results else []
    return bool(results) and not results["left"] and all(r["passed"] for r in rows)


def _all_measured(folder: Path) -> bool:
    results = read(folder / RESULTS)
    return bool(results and results["rows"] and not results["not_measured"])


def _all_finished(folder: Path) -> bool:
    results = read(folder / RESULTS)
    return bool(results) and all(r["state"] == "finished" for r in results["runs"])
