"""Walks through jaxprs: which primitives run, at which precision."""

import jax
from jax.extend import core

CONTRACTIONS = ("dot_general", "conv_general_dilated")


def equations(jaxpr):
    """All equations of a jaxpr and of the jaxprs inside it."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, core.Jaxpr | core.ClosedJaxpr):
                    yield from equations(inner)


def contractions(jaxpr):
    return [e for e in equations(jaxpr) if e.primitive.name in CONTRACTIONS]


def uses_fft(jaxpr):
    return any("fft" in e.primitive.name for e in equations(jaxpr))


def imprecise(jaxpr):
    """Contractions that leave their precision to the platform, or ask for less."""
    highest = jax.lax.Precision.HIGHEST
    return [
        e for e in contractions(jaxpr) if e.params["precision"] != (highest, highest)
    ]
