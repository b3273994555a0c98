"""The collective operations that are found in programs of known ones."""

import json
import os
import subprocess
import sys

import pytest

from experiments.scaling.hlo_collectives import Collective, Sum, collectives, summed
from helpers.programs import ROOT

# Six operations on 8 devices as 4 x 2; each device has 6 x 8 numbers of 4 bytes.
PROGRAM = """
import json
import jax
from jax import lax
from jax.sharding import PartitionSpec as P

from experiments.scaling.hlo_collectives import collectives

mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
turn = [(0, 1), (1, 2), (2, 3), (3, 0)]

def sent(function):
    place = P("a", "b")
    mapped = jax.shard_map(function, mesh=mesh, in_specs=place, out_specs=place)
    x = jax.ShapeDtypeStruct((24, 16), "float32")
    return collectives(jax.jit(mapped).lower(x).compile().as_text())

print(json.dumps([
    sent(lambda x: x * lax.psum(x, ("a", "b"))),
    sent(lambda x: x * lax.psum(x, "b")),
    sent(lambda x: lax.all_gather(x, "a", tiled=True)),
    sent(lambda x: lax.psum_scatter(x, "b", tiled=True)),
    sent(lambda x: lax.all_to_all(x, "b", 0, 1, tiled=True)),
    sent(lambda x: lax.ppermute(x, "a", turn)),
    sent(lambda x: x * 2),
]))
"""


def test_programs_send_what_they_say():
    flags = "--xla_force_host_platform_device_count=8"
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    found = [[Collective(*one) for one in each] for each in json.loads(result.stdout)]
    size = 6 * 8 * 4
    assert found == [
        [Collective("all-reduce", size, 8)],
        [Collective("all-reduce", size, 2)],
        [Collective("all-gather", 4 * size, 4)],
        [Collective("reduce-scatter", size // 2, 2)],
        [Collective("all-to-all", size, 2)],
        [Collective("collective-permute", size, 2)],
        [],
    ]


# As the compilers of TPUs and GPUs write them: tiled, in tuples, asynchronous.
LINES = {
    "%all-reduce.5 = (bf16[10]{0:T(256)(128)(2,1)S(1)}, /*index=1*/bf16[9,32,32]"
    "{2,1,0:T(8,128)(2,1)}) all-reduce(%a, %b), channel_id=1, replica_groups=mesh["
    "'x'=16,'y'=4] {'x'}, to_apply=%add": ("all-reduce", 2 * (10 + 9 * 1024), 16),
    "ROOT %r = f32[]{:T(128)} all-reduce(%a), replica_groups=mesh['x'=16,'y'=4] "
    "{'x','y':(2)2}, to_apply=%add": ("all-reduce", 4, 32),
    "%g = (f32[2]{0}, f32[8]{0}) all-gather-start(%p), replica_groups={{0,1,2,3},"
    "{4,5,6,7}}, dimensions={0}": ("all-gather", 32, 4),
    "%p = (s8[9]{0}, s8[9]{0}, u32[], u32[]) collective-permute-start(%x), "
    "source_target_pairs={{0,1},{1,0}}": ("collective-permute", 9, 2),
    "%r = (f32[3]{0}, pred[5]{0}) all-reduce-start(%a, %b), replica_groups={}": (
        "all-reduce",
        17,
        64,
    ),
}


@pytest.mark.parametrize(("line", "due"), LINES.items())
def test_lines(line, due):
    header = "HloModule jit_step, is_scheduled=true, num_partitions=64\n"
    assert collectives(f"{header}\n  {line}\n") == [Collective(*due)]


@pytest.mark.parametrize(
    "line",
    [
        "%d = f32[8]{0} all-gather-done(%g)",
        "%a = f32[8]{0} add(%all-reduce.5, %b)",
        '%c = f32[8]{0} copy(%b), metadata={op_name="f = f32[8] all-reduce(x)"}',
        "%a = f32[8]{0} all-reduce(%b), replica_groups={{0},{1}}, to_apply=%add",
    ],
)
def test_lines_that_send_nothing_more(line):
    assert collectives(line) == []


def test_rings_send_what_their_arithmetic_says():
    assert Collective("all-reduce", 80, 8).traffic == 140
    # an all-reduce is an all-gather after a reduce-scatter, whose result is a share
    assert Collective("all-gather", 80, 8).traffic == 70
    assert Collective("reduce-scatter", 10, 8).traffic == 70
    assert Collective("all-to-all", 80, 8).traffic == 70
    assert Collective("collective-permute", 80, 2).traffic == 80


def test_sums_are_by_kind_and_group():
    found = [Collective("all-reduce", 4, 8), Collective("all-reduce", 4, 2)] * 2
    found.append(Collective("all-gather", 9, 8))
    sums = [("all-gather", 8, 1, 9), ("all-reduce", 8, 2, 8), ("all-reduce", 2, 2, 8)]
    assert summed(found) == [Sum(*each) for each in sums]
