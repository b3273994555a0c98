"""Writes a run as one HTML page, with what is proven of it.

    python -m experiments.page --run=runs/NAME
    python -m experiments.page --run=runs/NAME --out=NAME.html --images=8

The page, RUN/page.html, needs no other file and no network: certified robust accuracy
with intervals, accuracy against radius, the most and the least certain images with the
nearest change that an attack finds, training curves, settings, the proven constant of
every layer, and how to check the certificates. It fits a phone.

The run must have certificates: `python -m experiments.certify` makes them.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from ..certification.certified_run import CertifiedRun
from ..common.errors import need
from ..common.files import write_bytes
from ..common.flags import run
from ..training.run_folder import RunFolder
from .contents import contents

FLAGS = flags.FLAGS


def main() -> None:
    need("jinja2")
    from .render import render

    folder = RunFolder.open(Path(FLAGS.run))
    target = CertifiedRun(folder, None, checkpoint=FLAGS.checkpoint)
    print("Attacking the most and the least certain images ...", flush=True)
    page = render(contents(folder, target, FLAGS.checkpoint, FLAGS.images))
    out = Path(FLAGS.out or folder.path / "page.html")
    write_bytes(out, page.encode())
    print(f"{out}: {len(page) / 1000:,.0f} kB; open it in a browser")


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "folder of the run", required=True)
    flags.DEFINE_enum(
        "checkpoint", "last", ["last", "best"], "which weights were certified"
    )
    flags.DEFINE_integer("images", 4, "most certain images, and as many least", 1)
    flags.DEFINE_string("out", None, "the HTML file; default: RUN/page.html")
    run(main, __doc__ or "")
