"""The settings of a training run, and the flags that change them."""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import flags

from ..common.errors import UserError

NETWORK = ("depth", "width", "conv", "activation", "pooling", "head", "hidden")
"""The settings that determine the shapes of the weights."""

PUBLISHED: dict[str, Any] = {
    "polynomial": "taylor:5",
    "eval_polynomial": "taylor:14",
    "gradient": "fast",
}
"""The settings by which the published networks approximate exp."""


def _of(help_text: str, default: Any = dataclasses.MISSING, choices=None) -> Any:
    metadata = {"help": help_text, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a training run; a preset provides the defaults."""

    data: str = _of(
        "data set: digits, cifar10, cifar100, folder:PATH or records:DIR", "digits"
    )
    data_dir: str | None = _of("folder of prepared data sets", None)
    validation: int | None = _of("training images held out for validation", None)
    depth: int = _of("layers: a multiple of the stages (5 for 32x32 images)", 5)
    width: int = _of("channels after the initial layer", 32)
    conv: str = _of(
        "convolution: skew-orthogonal, block, Cayley or block reflector",
        "soc",
        ("soc", "bcop", "cayley", "reflector"),
    )
    activation: str = _of(
        "activation", "maxmin", ("maxmin", "householder", "householder2")
    )
    pooling: str = _of("pooling of channels", "max", ("max", "projection"))
    head: str = _of("head", "normalized", ("orthogonal", "normalized", "curvature"))
    hidden: int = _of("hidden units of the curvature head", 4096)
    polynomial: str = _of(
        "approximation of exp in training: taylor:DEGREE or "
        "chebyshev:DEGREE:BOUND[:ANGLE]",
        "chebyshev:4:2.0",
    )
    eval_polynomial: str = _of("approximation of exp in evaluation", "chebyshev:8:2.2")
    gradient: str = _of(
        "rule for kernel gradients", "fast", ("exact", "fast", "low_rank")
    )
    dtype: str = _of(
        "dtype in training; parameters and summed gradients stay float32",
        "float32",
        ("float32", "bfloat16"),
    )
    epochs: int = _of("passes over the training images", 200)
    batch_size: int = _of("images per step", 128)
    optimizer: str = _of("rule of the steps", "sgd", ("sgd", "nadam"))
    learning_rate: float = _of("largest learning rate", 0.1)
    schedule: str = _of(
        "learning rate: divided by 10 at 1/2 and at 3/4, or falling along a cosine, or "
        "rising first for 3/10 of the run",
        "steps",
        ("steps", "cosine", "one_cycle"),
    )
    warmup: float = _of("epochs in which the learning rate rises", 0.0)
    momentum: float = _of("momentum of SGD, first moment of NAdam", 0.9)
    weight_decay: float = _of(
        "weight decay of the kernels of convolutions and linear heads", 5e-4
    )
    loss: str = _of(
        "loss of the logits", "cross_entropy", ("cross_entropy", "emma", "annealed")
    )
    temperature: float = _of("factor of the logits in the loss", 1.0)
    offset: float = _of(
        "margin that the loss asks for, in pixels; EMMA's largest radius", 0.0
    )
    certificate_weight: float = _of("weight of the mean radius, subtracted", 0.0)
    curvature_penalty: float = _of("weight of the curvature head's penalty", 0.0)
    clip_norm: float = _of("largest norm of a step's gradient; 0: no clipping", 0.0)
    attack_radius: float = _of(
        "the cross-entropy is taken at features that an l2 attack of this radius, in "
        "pixels, has moved; 0: no attack",
        0.0,
    )
    lookahead: int = _of(
        "steps between which slow weights, that are evaluated, move half way to the "
        "trained ones; 0: none",
        0,
    )
    train_only: str = _of(
        "what is trained: all, or the head of the network of --init_from, which may "
        "be of another kind, on the features of the images as they are",
        "all",
        ("all", "head"),
    )
    augment: bool = _of("random crops and flips if the data set allows them", True)
    randaugment: int = _of(
        "random operations (RandAugment) on half of the images; 0: none", 0
    )
    seed: int = _of("seed of the initial weights and all random draws", 0)

    def __post_init__(self) -> None:
        for name in ("depth", "width", "hidden", "epochs", "batch_size"):
            _check(getattr(self, name) >= 1, f"--{name} must be at least 1")
        _check(self.learning_rate > 0, "--learning_rate must be positive")
        _check(self.temperature > 0, "--temperature must be positive")
        _check(0 <= self.momentum < 1, "--momentum must be in [0, 1)")
        for name in (
            *("weight_decay", "warmup", "offset", "certificate_weight"),
            *("curvature_penalty", "clip_norm", "attack_radius"),
            *("lookahead", "randaugment"),
        ):
            _check(getattr(self, name) >= 0, f"--{name} must not be negative")
        _check(
            self.schedule != "one_cycle" or not self.warmup,
            "--warmup does not go with --schedule=one_cycle, which has its own",
        )
        _check(self.warmup < self.epochs, "--warmup must be less than --epochs")
        _check(
            self.loss != "emma" or self.offset > 0,
            "--loss=emma needs --offset, its largest radius in pixels, as in 0.42",
        )
        linear = self.loss != "emma" and not self.certificate_weight
        _check(
            self.head != "curvature" or linear,
            "--loss=emma and --certificate_weight need a linear head: they do not go "
            "with --head=curvature",
        )
        if self.train_only == "head":
            _check(
                not self.augment and not self.randaugment,
                "--train_only=head computes the features of each image once: leave "
                "out --augment and --randaugment",
            )

    def network(self) -> dict[str, Any]:
        """The settings of `NETWORK`, by name."""
        return {name: getattr(self, name) for name in NETWORK}


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def define_flags() -> None:
    """Defines a flag for every setting; one that is not given leaves the preset's."""
    kinds = {
        "int": flags.DEFINE_integer,
        "float": flags.DEFINE_float,
        "bool": flags.DEFINE_bool,
        "str": flags.DEFINE_string,
    }
    for field in dataclasses.fields(Config):
        text = f"{field.metadata['help']}. Default: the preset's."
        if field.metadata["choices"]:
            choices = field.metadata["choices"]
            flags.DEFINE_enum(field.name, None, choices, text)
        else:
            kind = kinds[str(field.type).split(" |")[0]]
            kind(field.name, None, text)


def with_flags(config: Config, values: flags.FlagValues) -> Config:
    """The config with the settings given on the command line."""
    given = {
        field.name: values[field.name].value
        for field in dataclasses.fields(Config)
        if values[field.name].present
    }
    return dataclasses.replace(config, **given)
