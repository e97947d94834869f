"""Whether this process is one of several that were started together, as the launcher's variables tell."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from minires.ranks.alone import ALONE, Ranks

# (how many, which of them) of MPICH's and Intel's mpiexec, Open MPI's, MVAPICH's, and Slurm's srun
VARIABLES = (
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)


class LaunchError(ValueError):
    """Several processes that cannot find each other.   rank: of this one, as the launcher has it."""

    def __init__(self, sentence: str, rank: int) -> None:
        super().__init__(sentence)
        self.rank = rank


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, int, str]:
    """(how many processes the launcher has started, which of them this one is, the variable that says so)."""
    for size, rank in VARIABLES:
        if environment.get(size, "").isdigit() and int(environment[size]) > 1:
            return int(environment[size]), int(environment.get(rank) or 0), size
    return 1, 0, ""


def find_mpiexec() -> str | None:
    """The path of mpiexec: the one beside this Python, which the wheel of MPICH brings, or the first on the PATH."""
    return shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def find_ranks(environment: Mapping[str, str] = os.environ) -> Ranks:
    """The ranks that this process belongs to; ALONE where it was started by itself, and then MPI is not touched.

    Raises LaunchError where the launcher has started several that mpi4py does not find, each of which would train alone
    and write over what the others write.
    """
    size, rank, variable = launched(environment)
    if size == 1:
        return ALONE
    started = f"{size} processes were started together ({variable} says so)"
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchError(
            f"{started}, but mpi4py, by which they would find each other, cannot be loaded ({error}): "
            "pip install 'minires[mpi]' for each of them, or start one process",
            rank,
        ) from error
    if MPI.COMM_WORLD.size != size:
        library = MPI.Get_library_version().split("\n")[0].strip(" \0")
        raise LaunchError(
            f"{started}, but mpi4py finds {MPI.COMM_WORLD.size}: it belongs to another MPI ({library}) than the "
            "program that started them: start them by the mpiexec of that one",
            rank,
        )
    from minires.ranks.mpi import MPIRanks

    return MPIRanks(MPI.COMM_WORLD)
