"""A stand-in for cupy.cuda.nccl, for GPUs of the double: what ranks send each other goes through MPI.

It has what the library calls, with the names and parameters of CuPy 14; it takes addresses and whole numbers, as NCCL
does, and moves numbers only once a group has ended.
"""

import ctypes

import numpy as np

SIGNATURES = {
    "send": "sendbuf count datatype peer stream",
    "recv": "recvbuf count datatype peer stream",
    "allGather": "sendbuf recvbuf count datatype stream",
}
NCCL_FLOAT32, NCCL_FLOAT64 = 7, 8
_BYTES = {NCCL_FLOAT32: 4, NCCL_FLOAT64: 8}

available = True
calls = []  # names, in order
_group = None


def get_unique_id():
    return bytes(range(128))


def groupStart():
    global _group
    assert _group is None
    _group = []


def groupEnd():
    global _group
    from mpi4py import MPI

    begun, _group = _group, None
    MPI.Request.Waitall([start() for start in begun])


def _memory(address, count, datatype):
    """The bytes that lie there."""
    for number in (address, count, datatype):
        if type(number) is not int:
            raise TypeError(f"an integer is required, got {number!r}")
    size = count * _BYTES[datatype]
    return np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(address))


class NcclCommunicator:
    def __init__(self, ndev, commId, rank):
        from mpi4py import MPI

        assert commId == get_unique_id() and (MPI.COMM_WORLD.size, MPI.COMM_WORLD.rank) == (ndev, rank)
        self._comm = MPI.COMM_WORLD.Dup()

    def send(self, sendbuf, count, datatype, peer, stream):
        calls.append("send")
        _group.append(lambda: self._comm.Isend(_memory(sendbuf, count, datatype), peer))

    def recv(self, recvbuf, count, datatype, peer, stream):
        calls.append("recv")
        _group.append(lambda: self._comm.Irecv(_memory(recvbuf, count, datatype), peer))

    def allGather(self, sendbuf, recvbuf, count, datatype, stream):
        calls.append("allGather")
        size = self._comm.size
        self._comm.Allgather(_memory(sendbuf, count, datatype), _memory(recvbuf, size * count, datatype))
