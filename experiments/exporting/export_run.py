"""Exports a run's network into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from lipjax import exact_network, freeze, portable, to_onnx

from ..common.errors import UserError, need
from ..common.files import is_empty, write_bytes, write_json
from ..reporting.tables import megabytes
from ..training.model import to_json
from ..training.run_folder import RunFolder, without_location
from .card import LOADER, card


def export_run(folder: RunFolder, checkpoint: str, out: Path) -> None:
    """Writes the network twice, load.py, weights.safetensors, settings.json, README.md.

    README.md, the model card, comes last: a folder with one is complete.

    Raises:
      UserError: if the folder is not empty, or nothing can be proven of the network.
    """
    need("flatbuffers", "onnx", "safetensors")
    from safetensors.numpy import save

    if out.exists() and not is_empty(out):
        raise UserError(f"{out} is not an empty folder: choose another --out")
    variables = jax.device_get(folder.checkpoints().restore(checkpoint).state.variables)
    try:
        frozen = freeze(folder.model, variables)
        constants = frozen.certificate_constants()
    except ValueError as error:
        raise UserError(f"{folder.path} cannot be proven: {error}") from error
    programs = {
        "network.jax": bytes(portable(frozen, constants=constants).serialize()),
        "network.onnx": to_onnx(frozen, constants=constants).SerializeToString(),
    }
    out.mkdir(parents=True, exist_ok=True)
    settings = {"config": without_location(folder.config)}
    settings |= {"model": to_json(folder.model), "classes": folder.classes}
    for name, program in programs.items():
        write_bytes(out / name, program)
        print(f"{name}: {megabytes(len(program))}")
    write_bytes(out / "load.py", LOADER.encode())
    write_bytes(out / "weights.safetensors", save(by_path(variables)))
    write_json(out / "settings.json", settings)
    text = card(folder, exact_network(folder.model, variables), constants.lipschitz)
    write_bytes(out / "README.md", text.encode())
    names = (*programs, "load.py", "weights.safetensors", "settings.json", "README.md")
    print(f"In {out}: {', '.join(names)}")


def by_path(variables: Any) -> dict[str, np.ndarray]:
    """Arrays by their path in a tree, as "params/initial/conv/kernel".

    Example:
      >>> by_path({"params": {"head": {"bias": np.zeros(2)}}}).keys()
      dict_keys(['params/head/bias'])
    """
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.ascontiguousarray(v)
        for path, v in leaves
    }
