"""NVIDIA's compiler for kernels, which needs neither a GPU nor a driver: pip install nvidia-cuda-nvrtc

Source: NVIDIA, NVRTC, chapter 3, User Interface.
"""

import ctypes
import functools
from importlib import metadata

ARCHITECTURES = (75, 80, 90, 100, 120)  # Turing, Ampere, Hopper, and Blackwell's two; CUDA 13 knows none before
OPTIONS = (
    "-ftz=true",  # as CuPy has it
    "--diag-suppress=177,550",  # a variable that is not used, or not again
)


class NotInstalled(Exception):
    """There is no NVRTC here that knows the architectures; the message says why."""


@functools.cache
def _library():
    try:
        files = metadata.files("nvidia-cuda-nvrtc") or []
        path = next(file.locate() for file in files if file.name.startswith("libnvrtc.so"))
        library = ctypes.CDLL(str(path))
    except (metadata.PackageNotFoundError, StopIteration, OSError) as error:
        raise NotInstalled("NVRTC is not installed: pip install nvidia-cuda-nvrtc") from error
    missing = set(ARCHITECTURES) - set(_supported(library))
    if missing:
        raise NotInstalled(f"this NVRTC does not know sm_{min(missing)}: pip install 'nvidia-cuda-nvrtc>=13'")
    return library


def _supported(library):
    count = ctypes.c_int()
    _check(library, library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    numbers = (ctypes.c_int * count.value)()
    _check(library, library.nvrtcGetSupportedArchs(numbers))
    return list(numbers)


def why_not():
    """Why nothing can be compiled here, or an empty string."""
    try:
        _library()
    except NotInstalled as error:
        return str(error)
    return ""


def version():
    """NVRTC's version, as 13.5"""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library(), _library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def complaint(text, name, architecture):
    """What is wrong with a kernel's text, or an empty string if it compiles to machine code that has the kernel."""
    library, program = _library(), ctypes.c_void_p()
    arguments = (text.encode(), f"{name}.cu".encode(), 0, None, None)
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), *arguments))
    try:
        options = [option.encode() for option in (f"-arch=sm_{architecture}", *OPTIONS)]
        failed = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        log = _bytes(library, program, "ProgramLog").rstrip(b"\0").decode().strip()
        if failed or log:
            return f"{name} for sm_{architecture}: {log or _error(library, failed)}"
        code = _bytes(library, program, "CUBIN")
        return "" if f"\0{name}\0".encode() in code else f"{name} for sm_{architecture}: it has no such kernel"
    finally:
        _check(library, library.nvrtcDestroyProgram(ctypes.byref(program)))


def _bytes(library, program, what):
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    room = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{what}")(program, room))
    return room.raw


def _check(library, status):
    if status:
        raise RuntimeError(_error(library, status))


def _error(library, status):
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library.nvrtcGetErrorString(status).decode()
