"""Programs compiled for H100s, which takes minutes and no GPU."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from experiments.scaling.hlo_kernels import step_kernels
from experiments.scaling.hlo_text import computations_of
from helpers.compilers import installed
from helpers.programs import ENVIRONMENT, ROOT, program
from helpers.programs_for_gpu import CONVOLUTIONS, DTYPES

pytestmark = pytest.mark.long


@pytest.fixture(scope="session")
def cuda(pytestconfig):
    """The folder of the compiler for GPUs."""
    return installed(pytestconfig, f"jax[cuda13]=={version('jax')}")


def environment(cuda):
    """Where the compiler is found, and no GPU."""
    path = os.pathsep.join([str(cuda), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}


def compiled(cuda, folder, topology, *flags):
    """The program's report of a step with 128 images a device."""
    out = folder / "scaling.json"
    result = program(
        "scaling",
        *(f"--topology={topology}", "--images=128", *flags, f"--out={out}"),
        timeout=3000,
        **environment(cuda),
    )
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    (row,) = json.loads(out.read_text())["rows"]
    assert row["where"] == "NVIDIA H100 80GB HBM3"
    return row


# At most what docs/performance.md says, and a little for another version of XLA.
@pytest.mark.parametrize(
    ("flags", "kernels", "gigabytes"),
    [
        ((), 245, 1.95),
        (("--dtype=float32",), 240, 3.4),
        (("--gradient=exact",), 275, 2.65),
        (("--depth=15", "--head=curvature"), 595, 4.55),
    ],
)
def test_kernels_and_bytes(cuda, tmp_path, flags, kernels, gigabytes):
    row = compiled(cuda, tmp_path, "h100:1x1", *flags)
    assert row["collectives"] == []
    assert sum(one["number"] for one in row["kernels"]) <= kernels
    assert sum(one["bytes"] for one in row["kernels"]) <= 1e9 * gigabytes
    kinds = {one["kind"] for one in row["kernels"]}
    assert {"convolution", "gradient of a kernel", "sum"} <= kinds
    assert 0 < row["roofline"] < 0.1


def test_eight_gpus_sum_their_gradients_in_three_messages(cuda, tmp_path):
    row = compiled(cuda, tmp_path, "h100:1x8")
    assert (row["data"], row["model"], row["batch"]) == (8, 1, 1024)
    sent = row["collectives"]
    assert {(one["kind"], one["group_size"]) for one in sent} == {("all-reduce", 8)}
    assert sum(one["number"] for one in sent) <= 3


def texts(cuda, folder, what):
    """Texts of compiled programs, by name."""
    command = [sys.executable, "-m", "tests.helpers.programs_for_gpu", folder, what]
    env = ENVIRONMENT | environment(cuda)
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), env["PYTHONPATH"]])
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {file.stem: file.read_text() for file in folder.iterdir()}


@pytest.fixture(scope="session")
def steps(cuda, tmp_path_factory):
    return texts(cuda, tmp_path_factory.mktemp("steps"), "step")


PRECISION = re.compile(r"operand_precision=\{highest,highest[,}]")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_has_neither_float64_nor_tf32(steps, dtype):
    """XLA computes in TF32 where the precision of a product is not the highest."""
    text = steps[dtype]
    assert "f64[" not in text and "tf32" not in text.lower()
    products = re.findall(r".* (?:dot|custom-call)\(.*", text)
    products = [line for line in products if "$conv" in line or " dot(" in line]
    assert len(products) > 40
    for line in products:
        assert PRECISION.search(line)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_stands_between_two_applications_of_a_series(steps, dtype):
    """Except at 2x2, where XLA exchanges images and kernel."""
    computations, _ = computations_of(steps[dtype])
    convolutions = {one.name for one in step_kernels(steps[dtype])}
    (body,) = (c for c in computations.values() if _convolutions(c) & convolutions)
    image_of, small = {}, set()
    for name in _convolutions(body):
        image = body[body[name].operands[0]]
        while image.opcode in ("get-tuple-element", "bitcast"):
            image = body[image.operands[0]]
        image_of[name] = image.name
        if image.name.startswith("loop_reverse"):
            small.add(name)  # the kernel of the stage with images of 2x2
    assert len(image_of) == 40 and len(small) == 8
    first = [n for n, image in image_of.items() if image not in image_of]
    # four stages with a series of four, forwards and backwards
    assert len(set(first) - small) == 8


def _convolutions(computation):
    return {
        one.name
        for one in computation.values()
        if "__cudnn$conv" in one.rest and "BackwardFilter" not in one.rest
    }


def test_what_is_certified_is_plain_products(cuda, tmp_path):
    """Of float64, in the highest precision: no library's routine decides how."""
    found = texts(cuda, tmp_path, "certified")
    assert set(found) == {f"execute-{conv}" for conv in CONVOLUTIONS} | {"solve-soc"}
    for name, text in found.items():
        assert "custom-call(" not in text and " convolution(" not in text
        assert "algorithm=" not in text
        products = re.findall(r".* dot\(.*", text)
        assert len(products) >= 8
        for line in products:
            assert PRECISION.search(line)
        dtypes = {line.split(" = ")[1].partition("[")[0] for line in products}
        # the dual's search for a point that proves is in float32
        assert dtypes == ({"f64", "f32"} if name.startswith("solve") else {"f64"})
