"""The shapes of convolutions that are orthogonal by construction."""

from jaxtyping import Array, Float, Inexact

from helpers.claims import claim
from lipjax import ops


@claim(lambda a, s: [a(s.n, s.c, s.c)])
def bjorck(matrices: Float[Array, "n c c"]) -> Float[Array, "n c c"]:
    return ops.bjorck(matrices)


@claim(lambda a, s: [a(2 * s.k - 1, max(s.c, s.D), max(s.c, s.D)), s.c, s.D])
def bcop_kernel(
    matrices: Float[Array, "j m m"], c_in: int, c_out: int
) -> Float[Array, "(j+1)//2 (j+1)//2 {c_in} {c_out}"]:
    return ops.bcop_kernel(matrices, c_in, c_out)


def images_and_kernel(a, s):
    return a(*s.batch, s.h, s.w, s.c), a(s.k, s.k, s.c, s.D)


@claim(images_and_kernel)
def circular_convolution(
    x: Float[Array, "*n h w a"], kernel: Float[Array, "k k a b"]
) -> Float[Array, "*n h w b"]:
    return ops.circular_convolution(x, kernel)


@claim(lambda a, s: [a(s.k, s.h, s.c, s.D), s.h, s.w])
def kernel_symbols(
    kernel: Float[Array, "j k a b"], height: int, width: int
) -> Inexact[Array, "{height} {width//2+1} a b"]:
    return ops.kernel_symbols(kernel, height, width)


@claim(images_and_kernel)
def apply_symbols(
    x: Float[Array, "*n h w a"], kernel: Float[Array, "k k a b"]
) -> Float[Array, "*n h w b"]:
    return ops.apply_symbols(x, ops.kernel_symbols(kernel, *x.shape[-3:-1]))


@claim(lambda a, s: [*images_and_kernel(a, s), a()])
def cayley_convolution(
    x: Float[Array, "*n h w a"],
    kernel: Float[Array, "k k a b"],
    alpha: Float[Array, ""],
) -> Float[Array, "*n h w b"]:
    return ops.cayley_convolution(x, kernel, alpha)


@claim(lambda a, s: [a(s.k, s.k, s.c, s.D), a(), s.h, s.w])
def cayley_kernel(
    kernel: Float[Array, "k k a b"], alpha: Float[Array, ""], height: int, width: int
) -> Float[Array, "{height} {width} a b"]:
    return ops.cayley_kernel(kernel, alpha, height, width)


@claim(lambda a, s: [a(s.k, s.k, s.c, s.D), s.h, s.w])
def cayley_norm(
    kernel: Float[Array, "k k a b"], height: int, width: int
) -> Float[Array, ""]:
    return ops.cayley_norm(kernel, height, width)


@claim(lambda a, s: [a(*s.batch, s.h, s.w, s.c + s.D), a(s.k, s.k, s.c + s.D, s.c)])
def reflector_convolution(
    x: Float[Array, "*n h w c"], kernel: Float[Array, "k k c r"]
) -> Float[Array, "*n h w c"]:
    return ops.reflector_convolution(x, kernel)


@claim(lambda a, s: [a(s.k, s.k, s.c + s.D, s.c), s.h, s.w])
def reflector_kernel(
    kernel: Float[Array, "k k c r"], height: int, width: int
) -> Float[Array, "{height} {width} c c"]:
    return ops.reflector_kernel(kernel, height, width)


@claim(lambda a, s: [a(s.k, s.k, s.c + s.D, s.c), s.h, s.w])
def reflector_symbols(
    kernel: Float[Array, "k k c r"], height: int, width: int
) -> Inexact[Array, "{height} {width//2+1} c c"]:
    return ops.reflector_symbols(kernel, height, width)
