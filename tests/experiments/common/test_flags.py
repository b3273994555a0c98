"""How a program ends."""

import subprocess
import sys

from helpers.programs import ENVIRONMENT, ROOT


def test_a_reader_that_has_enough_ends_a_program_without_a_word():
    """As `lipjax train --help | head -1` does, whose pipe is closed early."""
    code = (
        "from absl import flags\n"
        "from experiments.common.flags import run\n"
        "run(lambda: [print('x' * 80) for _ in range(10**5)], 'usage')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout and process.stderr
    with process.stdout, process.stderr:
        assert process.stdout.readline() == b"x" * 80 + b"\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.wait() == 1
