"""Converts checkpoints of the published PyTorch code into runs, and back.

    python -m experiments.convert --checkpoint=last.pth --run=runs/NEW \\
        --activation=hh2 --pooling=lip1 --head=crc_full        into a run
    python -m experiments.convert --from_run=runs/NAME --to=model.pth    out of a run
    python -m experiments.convert --from_run=runs/NAME --run=runs/NEW \\
        --eval_polynomial=chebyshev:8:2.2        same weights, another polynomial

A checkpoint is a state dict with the published names: a .pth file (PyTorch must be
installed), .npz or .safetensors. It does not record how the network was built: pass
--activation, --pooling and --head, with the published names or ours.

A run made from a checkpoint can be certified and attacked (--run=runs/NEW), and trained
further (--init_from=runs/NEW). It has the published polynomials unless flags give
others. The published ones expand a little; --eval_polynomial=chebyshev:8:2.2 does not,
on layers of norm up to 3.2. A run becomes a checkpoint with the same weights, bit for
bit. Existing files are never overwritten.
"""

from __future__ import annotations

import dataclasses

from absl import flags

from .common.flags import run
from .conversion.conversion import Request, convert

FLAGS = flags.FLAGS


def main() -> None:
    fields = dataclasses.fields(Request)
    convert(Request(**{field.name: FLAGS[field.name].value for field in fields}))


if __name__ == "__main__":
    for field in dataclasses.fields(Request):
        text, choices = field.metadata["help"], field.metadata["choices"]
        if choices:
            flags.DEFINE_enum(field.name, None, choices, text)
        else:
            flags.DEFINE_string(field.name, None, text)
    run(main, __doc__ or "")
