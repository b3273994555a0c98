"""Converts a published checkpoint to a run, and a run to a file or a new run."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lipjax import LipConvNet
from lipjax.convert import NAMES, from_torch, published_names, to_torch

from ..common.commands import command
from ..common.errors import UserError
from ..configs import NETWORK, PUBLISHED, Config
from ..data import load
from ..parallel.mesh import make_mesh
from ..reporting import tables
from ..training.checkpoints import Checkpoint
from ..training.model import check_fits, described, exp_approximation
from ..training.run_folder import RunFolder
from ..training.state import init_state, zero_metrics
from .weight_files import check_new, read_weights, write_weights

_CIFAR, _SIZE = {"cifar10": 10, "cifar100": 100}, (32, 32, 3)


def _of(help_text: str, *choices: str) -> Any:
    return dataclasses.field(
        default=None, metadata={"help": help_text, "choices": choices}
    )


def _choices(kind: str) -> tuple[str, ...]:
    """The published names and ours."""
    return tuple(dict.fromkeys((*NAMES[kind], *NAMES[kind].values())))


def _kind(kind: str) -> Any:
    return _of(f"{kind} of the checkpoint's network", *_choices(kind))


@dataclasses.dataclass(frozen=True)
class Request:
    """A conversion, as the flags of the program describe it."""

    checkpoint: str | None = _of("state dict: .pth, .npz or .safetensors")
    conv: str | None = _of(
        "convolution of the checkpoint's network; default: soc", *_choices("conv")
    )
    activation: str | None = _kind("activation")
    pooling: str | None = _kind("pooling")
    head: str | None = _kind("head")
    from_run: str | None = _of("folder of a run, instead of a checkpoint")
    weights: str | None = _of(
        "which weights of that run; default: last", "last", "best"
    )
    run: str | None = _of("folder of the new run")
    to: str | None = _of("new file, instead of a run: .pth, .npz or .safetensors")
    data: str | None = _of("data set of the new run: cifar10, cifar100 or folder:PATH")
    data_dir: str | None = _of("folder of prepared data sets")
    polynomial: str | None = _of(
        "approximation of exp in training: taylor:DEGREE or "
        "chebyshev:DEGREE:BOUND[:ANGLE]"
    )
    eval_polynomial: str | None = _of("approximation of exp in evaluation")
    gradient: str | None = _of("rule for kernel gradients", "exact", "fast", "low_rank")

    def given(self, *names: str) -> dict[str, str]:
        """Those of the flags that were given."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


class Network(NamedTuple):
    """A network with its weights, and the settings of a run."""

    model: LipConvNet
    variables: Any
    config: Config


def convert(request: Request) -> None:
    """Converts a checkpoint or a run; prints the network and the next commands.

    Raises:
      UserError: if a flag or file is wrong; then nothing is written.
    """
    _check(request)
    if request.checkpoint:
        network = _from_checkpoint(Path(request.checkpoint), request)
    else:
        network = _from_run(Path(str(request.from_run)), request)
    if request.run:
        _check_data(network)
        _write_run(Path(request.run), network)
    else:
        _write_file(Path(str(request.to)), network)
    _report(request, network)


def _check(request: Request) -> None:
    """One source, one destination, and no flag that would be ignored."""
    if len(request.given("checkpoint", "from_run")) != 1:
        raise UserError("pass what to convert: --checkpoint=FILE or --from_run=DIR")
    if len(request.given("run", "to")) != 1:
        raise UserError("pass what to make: a new run, --run=DIR, or a file, --to=FILE")
    names = request.given(*NAMES)
    missing = [n for n in NAMES if n not in (*names, "conv")]
    if request.checkpoint and missing:
        missing = [f"--{name}={'|'.join(NAMES[name])}" for name in missing]
        raise UserError(f"pass how the network was built: {' '.join(missing)}")
    if request.from_run and names:
        raise UserError(f"a run knows its network: leave out --{next(iter(names))}")
    if request.checkpoint and request.weights:
        raise UserError("--weights is for --from_run: leave it out")
    settings = request.given("data", "data_dir", *PUBLISHED)
    if request.to and settings:
        name = next(iter(settings))
        raise UserError(f"a file holds weights alone, no {name}: leave out --{name}")
    if request.to:
        check_new(Path(request.to))
    elif Path(str(request.run)).exists():
        raise UserError(f"{request.run} exists: choose another --run")


def _from_checkpoint(path: Path, request: Request) -> Network:
    names = {kind: _published(kind, getattr(request, kind) or "soc") for kind in NAMES}
    state = read_weights(path)
    try:
        model, variables = from_torch(state, **names)
    except ValueError as error:
        built = " ".join(f"--{kind}={name}" for kind, name in names.items())
        raise UserError(f"{path} is no network with {built}: {error}") from error
    if any(array.dtype == np.float64 for array in state.values()):
        print(f"{path}: float64 is rounded to float32, the precision of runs.")
    settings = {n: getattr(model, n) for n in NETWORK if n != "depth"}
    settings["depth"] = model.stages * model.layers_per_stage
    settings["data"] = request.data or _usual_data(model)
    settings |= PUBLISHED | request.given("data_dir", *PUBLISHED)
    config = Config(**settings)
    return Network(model.clone(exp=exp_approximation(config)), variables, config)


def _published(kind: str, name: str) -> str:
    """The published name of a kind, given by it or by ours."""
    if name not in _choices(kind):
        raise UserError(f"--{kind}={name}: choose one of {', '.join(_choices(kind))}")
    ours = {ours: theirs for theirs, ours in NAMES[kind].items()}
    return ours.get(name, name)


def _usual_data(model: LipConvNet) -> str:
    """The data set that a network of these sizes was published for; "": none."""
    sizes = (model.image_shape, model.num_classes)
    return next((d for d, classes in _CIFAR.items() if sizes == (_SIZE, classes)), "")


def _from_run(path: Path, request: Request) -> Network:
    folder = RunFolder.open(path)
    state = folder.checkpoints().restore(request.weights or "last").state
    config = dataclasses.replace(
        folder.config, **request.given("data", "data_dir", *PUBLISHED)
    )
    model = folder.model
    if request.given(*PUBLISHED):
        model = model.clone(exp=exp_approximation(config))
    return Network(model, state.variables, config)


def _check_data(network: Network) -> None:
    """Checks that the data set fits, without having to download one."""
    model, name = network.model, network.config.data
    images = described(model.image_shape, model.num_classes)
    if not name:
        raise UserError(
            f"pass the data set of {images} that the network is for: --data=folder:PATH"
        )
    if name not in _CIFAR:
        check_fits(model, load(name, data_dir=network.config.data_dir))
    elif (model.image_shape, model.num_classes) != (_SIZE, _CIFAR[name]):
        raise UserError(f"--data={name}: the network is for {images}")


def _write_run(path: Path, network: Network) -> None:
    """Writes the run under a temporary name, and renames it once complete."""
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        folder = RunFolder.create(temporary, network.config, network.model)
        state = init_state(network.config, network.variables)
        with folder.checkpoints() as checkpoints:
            start = Checkpoint(state, zero_metrics(make_mesh()), {}, 0)
            checkpoints.save("last", start)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_file(path: Path, network: Network) -> None:
    try:
        state = to_torch(network.model, network.variables)
    except ValueError as error:
        raise UserError(f"the run cannot be converted: {error}") from error
    write_weights(path, state)


def _report(request: Request, network: Network) -> None:
    model, config = network.model, network.config
    made = request.run or request.to
    print(f"{made}:", tables.network_text(model, network.variables["params"]))
    if request.to:
        names = published_names(model).items()
        print("Read it with", " ".join(f"--{kind}={name}" for kind, name in names))
        return
    print(f"  {config.polynomial}, in evaluation {config.eval_polynomial}")
    print(f"Next: {command('certify')} --run={request.run}")
    preset = "lipconvnet_crc" if model.head == "curvature" else "lipconvnet"
    start = f"--init_from={request.run} --preset={preset} --data={config.data}"
    start += f" --data_dir={config.data_dir}" if config.data_dir else ""
    print(f"      {command('train')} {start}")
