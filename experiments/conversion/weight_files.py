"""Reads and writes state dicts: PyTorch's .pth, NumPy's .npz, .safetensors."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UserError
from ..common.files import write_bytes

State = dict[str, np.ndarray]

_WRAPPERS = ("state_dict", "model")
_PARALLEL = "module."  # DataParallel puts it before every name


def read_weights(path: Path) -> State:
    """Reads a state dict; nothing in the file is executed.

    Args:
      path: a .pth (or .pt), .npz or .safetensors file. The state dict may be nested
        under "state_dict" or "model", and its names may begin with "module.".

    Returns:
      The arrays by name.

    Raises:
      UserError: if the file is of another kind, damaged, or holds anything else.
    """
    read, _ = _format(path)
    with path.open("rb"):  # raises if the file is missing
        pass
    state = _unwrapped(read(path))
    for name, value in state.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise UserError(
                f"{path} is no state dict: its entry {name!r} is no array of numbers"
            )
        if not np.isfinite(value).all():
            raise UserError(f"{path}: {name!r} has an entry that is not finite")
    return state


def write_weights(path: Path, state: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict to a new file, which is renamed once complete.

    Raises:
      UserError: if the file exists, or is of an unknown kind.
    """
    _, to_bytes = _format(path)
    check_new(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, to_bytes(dict(state)))


def check_new(path: Path) -> None:
    """Raises an error if a file exists or its name has no known ending."""
    _format(path)
    if path.exists():
        raise UserError(f"{path} exists: choose another name, or remove it")


def _format(path: Path) -> tuple[Callable[[Path], Any], Callable[[State], bytes]]:
    if path.suffix not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise UserError(f"{path}: the name must end with one of {known}")
    return _FORMATS[path.suffix]


def _unwrapped(state: Any) -> dict[str, Any]:
    for wrapper in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping):
        return {"": state}
    names = [str(name) for name in state]
    if names and all(name.startswith(_PARALLEL) for name in names):
        names = [name.removeprefix(_PARALLEL) for name in names]
    return {n: _array(v) for n, v in zip(names, state.values(), strict=True)}


def _array(value: Any) -> Any:
    """A PyTorch tensor as an array, bfloat16 as float32; anything else unchanged."""
    if hasattr(value, "detach"):
        value = value.detach()
        value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    return value


def _torch() -> Any:
    """PyTorch, imported only for its own files."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            ".pth files need PyTorch: pip install torch, or use .npz or .safetensors"
        ) from error
    return torch


def _read_torch(path: Path) -> Any:
    torch = _torch()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged, or holds more than weights. These are not read, since "
            "they could run any code: save the model's state_dict() alone"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise _damaged(path) from error


def _torch_bytes(state: State) -> bytes:
    torch = _torch()
    buffer = io.BytesIO()
    torch.save({n: torch.from_numpy(v.copy()) for n, v in state.items()}, buffer)
    return buffer.getvalue()


def _read_npz(path: Path) -> Any:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return dict(file)
    except (ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path) from error


def _npz_bytes(state: State) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **state)
    return buffer.getvalue()


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(path.read_bytes())
    except KeyError as error:
        raise UserError(f"{path}: NumPy has no {error}, save float32") from error
    except SafetensorError as error:
        raise _damaged(path) from error


def _safetensors_bytes(state: State) -> bytes:
    from safetensors.numpy import save

    return save(state)


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged, or no {path.suffix} file")


_FORMATS: dict[str, tuple[Callable[[Path], Any], Callable[[State], bytes]]] = {
    ".pth": (_read_torch, _torch_bytes),
    ".pt": (_read_torch, _torch_bytes),
    ".npz": (_read_npz, _npz_bytes),
    ".safetensors": (_read_safetensors, _safetensors_bytes),
}
