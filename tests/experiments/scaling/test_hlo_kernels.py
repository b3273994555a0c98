"""The kernels of programs whose kernels, bytes and operations are counted by hand."""

import pytest

from experiments.scaling.gpus import GPUS, roofline
from experiments.scaling.hlo_kernels import Kernel, KernelSum, by_kind, step_kernels

PROGRAM = """HloModule run

%sliced (p0: f32[100,8], p1: s32[]) -> f32[1,8] {
  %p0 = f32[100,8]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %cut = f32[1,8]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,8}
}

%updated (p0: f32[100,8], p1: f32[1,8], p2: s32[]) -> f32[100,8] {
  %p0.1 = f32[100,8]{1,0} parameter(0)
  %p1.1 = f32[1,8]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  ROOT %put = f32[100,8]{1,0} dynamic-update-slice(%p0.1, %p1.1, %p2, %zero.1)
}

%product (p0: bf16[128,64], p1: bf16[64,32]) -> f32[128,32] {
  %p0.2 = bf16[128,64]{1,0} parameter(0)
  %p1.2 = bf16[64,32]{1,0} parameter(1)
  ROOT %dot.1 = f32[128,32]{1,0} dot(%p0.2, %p1.2), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}
}

%twice (t: (f32[8])) -> (f32[8]) {
  %t = (f32[8]{0}) parameter(0)
  %e = f32[8]{0} get-tuple-element(%t), index=0
  %loop_add_fusion.9 = f32[8]{0} fusion(%e), kind=kLoop, calls=%unknown
  ROOT %out = (f32[8]{0}) tuple(%loop_add_fusion.9)
}

%often (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %loop_multiply_fusion.1 = f32[8]{0} fusion(%a), kind=kLoop, calls=%unknown
}

%seldom (b: f32[8]) -> f32[8] {
  %b = f32[8]{0} parameter(0)
  %loop_add_fusion.2 = f32[8]{0} fusion(%b), kind=kLoop, calls=%unknown
  ROOT %loop_add_fusion.3 = f32[8]{0} fusion(%loop_add_fusion.2), kind=kLoop, calls=%u
}

%step (s: (s32[], f32[100,8])) -> (s32[], f32[100,8]) {
  %s = (s32[], f32[100,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %data = f32[100,8]{1,0} get-tuple-element(%s), index=1
  %x = bf16[128,16,16,32]{3,2,1,0} constant({...})
  %k = bf16[64,3,3,32]{3,2,1,0} constant({...})
  %cut_fusion = f32[1,8]{1,0} fusion(%data, %i), kind=kLoop, calls=%sliced
  %put_fusion = f32[100,8]{1,0} fusion(%data, %cut_fusion, %i), kind=kLoop, \
calls=%updated
  %cudnn-conv.1 = (bf16[128,16,16,64]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), \
window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, \
custom_call_target="__cudnn$convForward", backend_config={"a":{"workspace_size":"0"}}
  %y = bf16[128,16,16,64]{3,2,1,0} get-tuple-element(%cudnn-conv.1), index=0
  %cudnn-conv-bw-filter.1 = (bf16[64,3,3,32]{3,2,1,0}, /*index=1*/u8[64]{0}) \
custom-call(%x, %y), dim_labels=b01f_o01i->b01f, \
custom_call_target="__cudnn$convBackwardFilter"
  %cudnn-conv-bw-input.1 = (bf16[128,16,16,32]{3,2,1,0}, u8[0]{0}) \
custom-call(%y, %k), dim_labels=b01f_o01i->b01f, \
custom_call_target="__cudnn$convBackwardInput"
  %l = bf16[128,64]{1,0} constant({...})
  %r = bf16[64,32]{1,0} constant({...})
  %gemm_fusion_dot.1 = f32[128,32]{1,0} fusion(%l, %r), kind=kCustom, calls=%product
  %custom-call.7 = (f32[128,32]{1,0}, s8[4]{0}) custom-call(%l, %r), \
custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":\
{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}
  %start = f32[8]{0} all-reduce-start(%e8), replica_groups=[1,8]<=[8], to_apply=%sum
  %done = f32[8]{0} all-reduce-done(%start)
  %e8 = f32[8]{0} constant({...})
  %chosen = f32[8]{0} conditional(%i, %e8, %e8), true_computation=%seldom, \
false_computation=%often
  %loop = (f32[8]{0}) while(%tuple.1), condition=%until, body=%twice, \
backend_config={"known_trip_count":{"n":"2"}}
  ROOT %next = (s32[], f32[100,8]{1,0}) tuple(%i, %put_fusion)
}

ENTRY %main (start: (s32[], f32[100,8])) -> (s32[], f32[100,8]) {
  %start.1 = (s32[], f32[100,8]{1,0}) parameter(0)
  %before = f32[8]{0} fusion(), kind=kLoop, calls=%unknown
  ROOT %while.1 = (s32[], f32[100,8]{1,0}) while(%start.1), condition=%c, body=%step
}
"""
IMAGES, RESULTS, KERNEL = 128 * 16 * 16 * 32 * 2, 128 * 16 * 16 * 64 * 2, 64 * 288 * 2
CONVOLUTION = 2.0 * 128 * 16 * 16 * 64 * 9 * 32  # in all three directions
PRODUCT = 2.0 * 128 * 64 * 32
FACTORS = 2 * (128 * 64 + 64 * 32)


def test_a_step_is_counted_by_hand():
    assert step_kernels(PROGRAM) == [
        Kernel("cut_fusion", "elementwise", 32 + 4 + 32, 0.0, "f32"),
        Kernel("put_fusion", "elementwise", 32 + 4 + 32, 0.0, "f32"),
        Kernel(
            "cudnn-conv.1",
            "convolution",
            IMAGES + KERNEL + RESULTS,
            CONVOLUTION,
            "bf16",
        ),
        Kernel(
            "cudnn-conv-bw-filter.1",
            "gradient of a kernel",
            IMAGES + RESULTS + KERNEL + 64,
            CONVOLUTION,
            "bf16",
        ),
        Kernel(
            "cudnn-conv-bw-input.1",
            "convolution",
            RESULTS + KERNEL + IMAGES,
            CONVOLUTION,
            "bf16",
        ),
        Kernel("gemm_fusion_dot.1", "product", FACTORS + 128 * 32 * 4, PRODUCT, "bf16"),
        Kernel("custom-call.7", "product", FACTORS + 128 * 32 * 4 + 4, PRODUCT, "bf16"),
        Kernel("start", "all-reduce", 64, 0.0, "f32"),
        Kernel("loop_multiply_fusion.1", "elementwise", 64, 0.0, "f32"),
        *[Kernel("loop_add_fusion.9", "sum", 64, 0.0, "f32")] * 2,
    ]


def test_a_program_without_a_loop_is_one_step():
    entry = PROGRAM[PROGRAM.index("ENTRY") :].replace("while(%start.1)", "tuple(%b)")
    assert [one.name for one in step_kernels(entry)] == ["before"]


def test_sums():
    sums = {one.kind: one for one in by_kind(step_kernels(PROGRAM))}
    assert sums["sum"] == KernelSum("sum", 2, 128, 0.0)
    assert sums["product"].operations == 2 * PRODUCT
    sizes = [one.bytes for one in by_kind(step_kernels(PROGRAM))]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("moved", "operations", "dtype", "seconds"),
    [
        (3.352e9, 0.0, "bf16", 1e-3),  # bound by memory
        (8, 989e9, "bf16", 1e-3),  # by arithmetic
        (8, 67e9, "f32", 1e-3),  # without TF32
        (0, 0.0, "pred", 0.0),  # by its start
    ],
)
def test_roofline(moved, operations, dtype, seconds):
    gpu = GPUS["h100"]
    one = Kernel("k", "sum", int(moved), operations, dtype)
    assert roofline([one] * 3, gpu) == pytest.approx(3 * (seconds + gpu.start))


ON_A_TPU = """HloModule run

%convolved (p0: bf16[8,4], p1: bf16[4,4]) -> bf16[8,4] {
  %p0 = bf16[8,4]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %p1 = bf16[4,4]{1,0:T(8,128)(2,1)} parameter(1)
  ROOT %convolution.1 = bf16[8,4]{1,0} convolution(%p0, %p1), dim_labels=bf_io->bf
}

ENTRY %main (x: bf16[8,4], k: bf16[4,4]) -> bf16[8,4] {
  %x = bf16[8,4]{1,0:T(8,128)(2,1)} parameter(0)
  %k = bf16[4,4]{1,0:T(8,128)(2,1)} parameter(1)
  %copy-start.1 = (bf16[8,4]{1,0:T(8,128)(2,1)}, bf16[8,4]{1,0:T(8,128)(2,1)S(1)}, \
u32[]{:S(2)}) copy-start(%x)
  %copy-done.1 = bf16[8,4]{1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start.1)
  ROOT %fusion.1 = bf16[8,4]{1,0:T(8,128)(2,1)S(1)} fusion(%copy-done.1, %k), \
kind=kOutput, calls=%convolved
}
"""


def test_bytes_beside_a_tpu_s_processor_do_not_count():
    """The copy reads 64 bytes, the convolution the 32 of its kernel."""
    fetch, convolution = step_kernels(ON_A_TPU, near=1)
    assert (fetch.kind, fetch.bytes) == ("fetch", 64)
    assert (convolution.kind, convolution.bytes) == ("convolution", 32)
    assert step_kernels(ON_A_TPU)[1].bytes == 64 + 64 + 32
