"""`experiments.train`, of which process 1 is in trouble with the disk.

    TROUBLE=elsewhere|full HERE=FOLDER python -m tests.helpers.troubled_train FLAG ...

It works in FOLDER, and relative paths lead elsewhere than the others' do; or it can
write no file of more than a few bytes.
"""

import os
import resource
import runpy
import sys

FEW = 100

if __name__ == "__main__":
    if "--process_id=1" in sys.argv:
        if os.environ["TROUBLE"] == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (FEW, FEW))
        else:
            sys.path.insert(0, os.getcwd())
            os.chdir(os.environ["HERE"])
    runpy.run_module("experiments.train", run_name="__main__")
