"""Builds the network for a config and a data set."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from lipjax import ExpApproximation, LipConvNet
from lipjax.ops import Coefficients, chebyshev, taylor

from ..common.errors import UserError
from ..configs import Config
from ..data import Dataset


def build(config: Config, data: Dataset) -> LipConvNet:
    """The LipConvNet of a config for the images of a data set.

    Raises:
      UserError: if depth, sides or polynomials do not fit.
    """
    height, width, channels = data.image_shape
    stages = _stages(min(height, width))
    if config.depth % stages:
        raise UserError(
            f"--depth={config.depth} is not a multiple of the {stages} stages that "
            f"{height}x{width} images have"
        )
    network = config.network()
    layers = network.pop("depth") // stages
    try:
        return LipConvNet(
            image_shape=data.image_shape,
            num_classes=data.num_classes,
            stages=stages,
            layers_per_stage=layers,
            mean=data.mean,
            std=(data.std,) * channels,
            exp=exp_approximation(config),
            **network,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def check_fits(model: LipConvNet, data: Dataset) -> None:
    """Checks that a data set has the images and classes of a network.

    Raises:
      UserError: if it has not.
    """
    due = (model.image_shape, model.num_classes)
    if due != (data.image_shape, data.num_classes):
        raise UserError(
            f"the network is for {described(*due)}, but {data.name} has "
            f"{described(data.image_shape, data.num_classes)}"
        )


def described(image_shape: tuple[int, int, int], classes: int) -> str:
    """The images and classes that a network or a data set is for."""
    return f"{'x'.join(map(str, image_shape))} images of {classes} classes"


def _stages(side: int) -> int:
    """The number of times a side can be halved; at most 5, as published."""
    return max(1, min(5, (side & -side).bit_length() - 1))


def exp_approximation(config: Config) -> ExpApproximation:
    """The approximation that the flags describe."""
    training = _polynomial("polynomial", config.polynomial)
    evaluation = _polynomial("eval_polynomial", config.eval_polynomial)
    return ExpApproximation(training, evaluation, config.gradient)


def _polynomial(flag: str, text: str) -> Coefficients:
    family, *numbers = text.split(":")
    try:
        if family == "taylor" and len(numbers) == 1:
            return taylor(int(numbers[0]))
        if family == "chebyshev" and len(numbers) in (2, 3):
            return chebyshev(int(numbers[0]), *map(float, numbers[1:]))
    except ValueError as error:
        raise UserError(f"--{flag}={text}: {error}") from error
    raise UserError(
        f"--{flag}={text}: pass taylor:DEGREE or "
        "chebyshev:DEGREE:BOUND[:ANGLE], as in chebyshev:6:2.2"
    )


def to_json(model: LipConvNet) -> dict[str, Any]:
    """A description of the model for JSON, from which `from_json` makes it again."""
    skipped = {"parent", "name", "dtype", "param_dtype"}
    fields = {f.name for f in dataclasses.fields(model)} - skipped
    values = {name: getattr(model, name) for name in sorted(fields)}
    return values | {"exp": dataclasses.asdict(model.exp)}


def from_json(values: dict[str, Any]) -> LipConvNet:
    """The model that `to_json` described."""
    values = dict(values)
    # Runs from before version 0.2 call it "series".
    exp = values.pop("exp" if "exp" in values else "series")
    fields = {name: _tuples(value) for name, value in values.items()}
    polynomials = {name: _tuples(value) for name, value in exp.items()}
    return LipConvNet(**fields, exp=ExpApproximation(**polynomials))


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def output_shapes(model: LipConvNet, variables: Any) -> dict[str, tuple[int, ...]]:
    """Shape of the output of every block and of the head, for one image.

    Args:
      model: the network.
      variables: its variables, or their shapes.
    """
    image = jnp.zeros((1, *model.image_shape), jnp.float32)
    _, seen = jax.eval_shape(
        lambda variables: model.apply(
            variables, image, capture_intermediates=True, mutable="intermediates"
        ),
        variables,
    )
    outputs = seen["intermediates"]
    names = (*model.block_names(), "classifier")
    return {name: outputs[name]["__call__"][0].shape[1:] for name in names}
