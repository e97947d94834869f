"""The kernels of the library, where there is no GPU: they compile for GPUs.

Here each is compiled for one GPU, drawn by seed; `make kernels` compiles every text for all.
"""

import nvrtc
import numpy as np
import pytest
from every_kernel import every_kernel

from minires.backend.gpu import compiling

INDICES = tuple(compiling.INTEGER)


# NVIDIA's compiler ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiler():
    """NVRTC, or the test is skipped with the reason."""
    reason = nvrtc.why_not()
    if reason:
        pytest.skip(reason)
    return nvrtc


def test_every_kernel_compiles_for_gpus(compiler):
    kernels, rng = every_kernel(), np.random.default_rng(0)
    assert {kernel.name for kernel in kernels} == {"fused", "fused_many", "sums", "im2col", "col2im"}
    drawn = {kernel.kind: kernel for kernel in rng.permutation(np.array(kernels, object))}.values()
    wrong = [
        compiler.complaint(kernel.text(rng.choice(INDICES)), kernel.name, rng.choice(compiler.ARCHITECTURES))
        for kernel in drawn
    ]
    assert not list(filter(None, wrong))


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("KERNEL fused(T *x) { x[0] = 1 }", 'expected a ";"'),
        ("KERNEL fused(Tensor *x) { x[0] = 1; }", 'identifier "Tensor" is undefined'),
        ("KERNEL fused(T *x) { x[0] = y; }", 'identifier "y" is undefined'),
        ("KERNEL fused(T *x) { if (x[0] = 1) x[1] = 2; }", 'use of "=" where "==" may have been intended'),
        ("KERNEL another(T *x) { x[0] = 1; }", "it has no such kernel"),
        ('KERNEL fused(T *x) { asm("nonsense;"); }', "fatal"),
    ],
)
def test_a_kernel_that_does_not_compile_is_found(compiler, body, complaint, architecture):
    found = compiler.complaint(compiling.text(body, "f", "int"), "fused", architecture)
    assert found.startswith(f"fused for sm_{architecture}: ") and complaint in found
