"""`experiments.train`, which notes the records that it reads from the disk.

    COUNTED=FOLDER python -m tests.helpers.counted_train FLAG ...

Each process appends lines to FOLDER/NUMBER: the split, and the records of one call.
"""

import json
import os
import runpy
from pathlib import Path

import jax

from experiments.data.record_files import RecordFiles

read = RecordFiles.read


def counted(self, rows):
    note = json.dumps([self._paths[0].name.split("-")[0], rows.tolist()])
    with (Path(os.environ["COUNTED"]) / str(jax.process_index())).open("a") as file:
        file.write(note + "\n")  # in one piece, whichever thread it is
    return read(self, rows)


if __name__ == "__main__":
    RecordFiles.read = counted
    runpy.run_module("experiments.train", run_name="__main__")
