"""What can be proven of kernels where there is no GPU.

They compile for GPUs, no barrier is missing, no index leaves its array. Here each kernel is compiled for one kind of
GPU, drawn by seed; `make kernels` compiles every text for all of them, and draws more shapes.
"""

import json
import sys

import cupy_double
import kernel_cases
import kernel_double
import kernel_far
import numpy as np
import nvrtc
import pytest
import sanitized
from every_kernel import every_kernel

from minires import backend
from minires.backend import to_device, to_numpy
from minires.backend.gpu import compiling, parameters, source, source_classes
from minires.losses import cross_entropy

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
    assert {kernel.name for kernel in kernels} == {
        *("fused", "fused_many", "sums", "im2col", "col2im"),
        *("cost_rows", "cost_mean", "cost_gradient", "count_largest"),
        *("max_pool", "max_pool_gradient", "factors", "move_pixels", "normalize"),
        *("keep_pixels", "spread_pixels", "copies"),
    }
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


# Threads and barriers -------------------------------------------------------------------------------------------


ORDERS = {
    "first to last": np.arange(source.THREADS),
    "last to first": np.arange(source.THREADS)[::-1],
    "shuffled": np.random.default_rng(0).permutation(source.THREADS),
}


def in_order(name):
    """Each thread by itself from barrier to barrier, and the blocks, in one of ORDERS."""

    def blocks(width, height):
        every = kernel_double.by_rows(width, height)
        place = {"first to last": lambda k: k, "last to first": lambda k: -k, "shuffled": lambda k: (k * 7919) % 10007}
        return [every[k] for k in sorted(range(len(every)), key=place[name])]

    return kernel_double.fibres(ORDERS[name], blocks=blocks)


@pytest.fixture
def cupy(monkeypatch):
    """The double, where CuPy would be."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)


@pytest.mark.parametrize("order", ORDERS)
def test_threads_and_blocks_may_run_in_any_order_between_barriers(cupy, order):
    with kernel_double.running(in_order(order)):
        for number in range(40):
            kernel_cases.run(np.random.default_rng([1, number]))


def sums_in(way, shape=(300, 20)):
    x = np.random.default_rng(0).standard_normal(shape)
    with kernel_double.running(way):
        (total,) = backend.sum_channels(lambda x, out: (x,), (to_device(x, "gpu"),))
    return np.abs(to_numpy(total) - x.sum(axis=0)).max()


def loss_in(way, shape=(300, 20)):
    logits, labels = np.random.default_rng(0).standard_normal(shape), np.arange(shape[0]) % shape[1]
    (want, backward), on_gpu = cross_entropy(logits, labels), [to_device(array, "gpu") for array in (logits, labels)]
    with kernel_double.running(way):
        loss, backward_there = cross_entropy(*on_gpu)
        return max(abs(float(loss) - want), np.abs(to_numpy(backward_there()) - backward()).max())


def count_in(way, shape=(304, 20)):
    logits = np.random.default_rng(0).standard_normal(shape)
    labels = logits.argmax(axis=1)
    with kernel_double.running(way):
        found = backend.count_largest(to_device(logits, "gpu"), to_device(labels, "gpu"))
    return abs(int(found) - len(logits))


BARRIERS = [  # each of the texts that have some, and what is computed by it
    pytest.param(module, name, compute, barrier, id=f"{name}-{barrier}")
    for module, name, compute in (
        (source, "SUMS", sums_in),
        (source_classes, "COSTS", loss_in),
        (source_classes, "MEAN", loss_in),
        (source_classes, "LARGEST", count_in),
    )
    for barrier in range(getattr(module, name).count("SYNC"))
]


def test_every_text_with_barriers_is_among_them():
    texts = {name for module in (source, source_classes) for name, text in vars(module).items() if "SYNC;" in str(text)}
    assert texts == {case.values[1] for case in BARRIERS}


@pytest.mark.parametrize(("module", "name", "compute", "barrier"), BARRIERS)
def test_a_forgotten_barrier_is_found(cupy, monkeypatch, module, name, compute, barrier):
    monkeypatch.setattr(parameters, "_made", {})
    assert all(compute(in_order(order)) < 1e-10 for order in ORDERS)
    monkeypatch.setattr(parameters, "_made", {})
    parts = getattr(module, name).split("SYNC;")
    monkeypatch.setattr(module, name, "SYNC;".join(parts[: barrier + 1]) + "SYNC;".join(parts[barrier + 1 :]))
    assert compute(kernel_double.LOOPS) < 1e-10, "loops cannot see it"
    errors = [compute(in_order(order)) for order in ORDERS]
    assert any(not error < 1e-10 for error in errors), errors


def test_a_barrier_that_not_all_threads_reach_is_found(cupy, monkeypatch):
    monkeypatch.setattr(parameters, "_made", {})
    monkeypatch.setattr(source, "SUMS", source.SUMS.replace("    SYNC;\n", "    if (self % 2) SYNC;\n", 1))
    with pytest.raises(AssertionError, match="sums: not all threads"):
        sums_in(in_order("first to last"))


# Indices --------------------------------------------------------------------------------------------------------


def sanitizers(*arguments):
    """What comes of the cases in a process with the sanitizers, the sabotaged kernels first."""
    if sanitized.library() is None:
        pytest.skip("g++ has no AddressSanitizer here")
    done = sanitized.start(*arguments, timeout=600)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_no_index_leaves_its_array():
    found = sanitizers("--cases", 60)
    assert found["right"] == 60
    assert found["sabotages"].keys() == sanitized.SABOTAGES.keys()
    for name, said in found["sabotages"].items():
        assert "heap-buffer-overflow" in said or "out of bounds" in said, f"{name}: {said}"


def test_indices_of_64_bits_where_32_overflow():
    found = sanitizers("--far")
    if isinstance(found["right"], str):
        pytest.skip(found["right"])
    assert len(found["right"]) == len(kernel_far.CASES) * len(kernel_far.SIZES)
    assert found["megabytes"] < 1024, "it takes the memory that it should do without"
    for name, said in found["sabotages"].items():
        assert "signed integer overflow" in said, f"{name}: {said}"
