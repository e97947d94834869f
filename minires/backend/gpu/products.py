"""Products of matrices by the cuBLAS that CuPy has loaded, called as it is: CuPy's own way refuses to be recorded.

Source: NVIDIA, cuBLAS Library, sections 2.4.7 (cublasSetWorkspace), 2.8.12 (cublasGemmEx) and 2.8.14
(cublasGemmStridedBatchedEx).
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

from minires.backend.errors import DeviceError
from minires.backend.gpu.compiling import address, cupy
from minires.backend.halves import widened
from minires.types import Array

WORKSPACE = 32 << 20  # bytes, as NVIDIA advises for an H100: cuBLAS may take no memory of its own while it is recorded
_ALLOC_FAILED = 3  # CUBLAS_STATUS_ALLOC_FAILED
_PLAIN, _TRANSPOSED = 0, 1  # CUBLAS_OP_N, CUBLAS_OP_T
_TYPES = {"f": 0, "d": 1, "e": 2, "E": 14}  # CUDA_R_32F, CUDA_R_64F, CUDA_R_16F, CUDA_R_16BF
_COMPUTE = {"f": 68, "d": 70}  # CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F: what products are added up in
_TF32 = 77  # CUBLAS_COMPUTE_32F_FAST_TF32
_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT
_NO_REDUCED_SUMS = 16  # CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION: sums of halves stay float32 to the end
_numbers: list[Any] = []
_handles: dict[Any, tuple[Any, Any]] = {}  # (CuPy, device, stream): handle, its workspace


def product(a: Array, b: Array, out: Array | None = None, tf32: bool = False) -> Any:
    """a (M, K) @ b (K, N), in `out` (M, N) where it is given: of their dtype, or float32 where they are halves.

    Or stacks of such, (G, M, K) @ (G, K, N), in one launch: out may then be a view whose matrices' rows take turns.
    tf32: factors of float32 are rounded to TF32 on the way.
    NotImplemented for what cuBLAS does not take as it lies: other dtypes, stacks of stacks, no numbers at all, and
    views of which neither the rows nor the columns are without gaps.
    """
    real = a.dtype.char
    if real not in _TYPES or b.dtype.char != real or a.ndim not in (2, 3) or a.shape[:-2] != b.shape[:-2]:
        return NotImplemented
    *stack, M, K = a.shape
    N, of_a, of_b = b.shape[-1], _layout(a), _layout(b)
    if b.shape[-2] != K or of_a is None or of_b is None or 0 in (*stack, M, N, K):
        return NotImplemented
    sums = widened(a.dtype)
    if out is None:
        out = cupy().empty((*stack, M, N), sums)
    of_out = _layout(out)
    if of_out is None or of_out[0] == _TRANSPOSED or out.shape != (*stack, M, N) or out.dtype not in (a.dtype, sums):
        return NotImplemented
    gemm, one, zero = _function(cupy(), sums.char, bool(stack))
    # cuBLAS goes down columns, so it sees every matrix here transposed: out^T = b^T a^T
    (way_of_a, *a_steps), (way_of_b, *b_steps), (_, *out_steps) = of_a, of_b, of_out
    sizes, kind = (way_of_b, way_of_a, N, M, K), _TYPES[real]
    matrices = (address(b), kind, *b_steps, address(a), kind, *a_steps)
    result = (address(out), _TYPES[out.dtype.char], *out_steps, *stack)
    compute = _TF32 if tf32 and real == "f" else _COMPUTE[sums.char]
    status = gemm(_handle(), *sizes, one, *matrices, zero, *result, compute, _ALGORITHM)
    if status:
        raise _failure(cupy(), f"does not multiply {a.shape} by {b.shape}", status)
    return out


def _layout(x):
    """How cuBLAS is to take a matrix, and how many numbers lie from a row (or column) to the next; None: not at all.

    Of a stack also how many lie from a matrix to the next.
    """
    (rows, columns), (down, right), size = x.shape[-2:], x.strides[-2:], x.itemsize
    beyond = [step // size for step in x.strides[:-2]]
    if any(step % size for step in x.strides):
        return None
    if right == size and (down >= columns * size or rows == 1):
        return _PLAIN, max(down // size, columns), *beyond
    if down == size and (right >= rows * size or columns == 1):
        return _TRANSPOSED, max(right // size, rows), *beyond
    return None


@functools.cache
def _function(xp, sums, of_stacks):
    """(gemm, address of 1, address of 0), both of the type of the sums."""
    kind = {"f": ctypes.c_float, "d": ctypes.c_double}[sums]
    library = _library(xp)
    numbers, gemm = (kind * 2)(1, 0), library.cublasGemmStridedBatchedEx if of_stacks else library.cublasGemmEx
    integer, place = ctypes.c_int, ctypes.c_void_p
    matrix, count = [place, integer, integer], []
    if of_stacks:
        matrix, count = [*matrix, ctypes.c_longlong], [integer]
    gemm.argtypes = [place, *[integer] * 5, place, *matrix, *matrix, place, *matrix, *count, integer, integer]
    _numbers.append(numbers)  # which must live as long as the function
    return gemm, ctypes.addressof(numbers), ctypes.addressof(numbers) + ctypes.sizeof(kind)


def _failure(xp, what, status):
    """What to raise for a status of cuBLAS that is not 0."""
    if status == _ALLOC_FAILED:
        return xp.cuda.memory.OutOfMemoryError(WORKSPACE, 0, 0)
    return DeviceError(f"cuBLAS {what}: status {status}; report it with the versions of CuPy and of CUDA")


@functools.cache
def _library(xp):
    """The cuBLAS that this CuPy has loaded: of several, as where PyTorch brings its own, that of CuPy's CUDA."""
    xp.matmul(xp.ones((2, 2), "f"), xp.ones((2, 2), "f"))  # it is loaded by the first product
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = sorted({line.split(maxsplit=5)[5] for line in lines if "libcublas.so" in line})
    if not paths:
        raise DeviceError(
            "CuPy has loaded no cuBLAS that can be found: install it with CuPy, pip install cupy-cuda13x[ctk]"
        )
    own = f"libcublas.so.{xp.cuda.runtime.runtimeGetVersion() // 1000}"
    return ctypes.CDLL(next((path for path in paths if f"{Path(path).name}.".startswith(own + ".")), paths[0]))


def prepare() -> None:
    """Have cuBLAS ready for the current stream, before that is recorded."""
    _handle()


def _handle():
    """cuBLAS's handle of the current device and stream, with a workspace of its own."""
    xp = cupy()
    cuda = xp.cuda
    stream = cuda.get_current_stream().ptr
    key = xp, cuda.runtime.getDevice(), stream
    if key not in _handles:
        library, handle = _library(xp), ctypes.c_void_p()
        workspace = cuda.alloc(WORKSPACE)
        done = [
            library.cublasCreate_v2(ctypes.byref(handle)),
            library.cublasSetStream_v2(handle, ctypes.c_void_p(stream)),
            library.cublasSetWorkspace_v2(handle, ctypes.c_void_p(workspace.ptr), ctypes.c_size_t(WORKSPACE)),
            library.cublasSetMathMode(handle, _NO_REDUCED_SUMS),
        ]
        if any(done):
            raise _failure(xp, "cannot be set up", max(done))
        _handles[key] = handle, workspace
    return _handles[key][0]
