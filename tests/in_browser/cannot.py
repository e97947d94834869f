"""What a browser cannot do, and why.

Of each test and file in TESTS and FILES a run sees for itself that it cannot: it fails, in the words of `sign`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """Why something is skipped.   sign: what the failure says, a regular expression."""

    text: str
    sign: str


THREADS = Reason("a browser starts no threads", r"can't start new thread")
PROGRAMS = Reason("a browser starts no programs", r"emscripten does not support processes")
SERVERS = Reason("a browser has no servers", r"a browser has no servers")
_ABSENT = "_multiprocessing|fcntl|h5py|lzma|matplotlib|ml_dtypes|pooch|requests|resource|threadpoolctl|tqdm"
PACKAGES = Reason("browsers are not given this package", f"No module named .({_ABSENT})")

# Files that cannot even be imported.
FILES = {}

# Tests, by file and function.
TESTS: dict[str, Reason] = {}

# Files about something else than what runs in a page; they are not looked at.
ELSEWHERE = {
    "GPUs, or programs that compile kernels for them": (
        "after_resnet gpu gpu_benchmark gpu_double kernels precision recorded_step several_gpus"
    ),
    "several processes": "guard install interrupts processes ranks federated scratch",
    "scripts for a terminal, and their runs": (
        "against benchmarks browser campaign claim compare detect distillation experiments finetune generations ideas "
        "kept leaks linear_to_resnet meant measuring pictures pipeline_benchmark recording runs saved segment "
        "snapshots strong_training tensorboard together train_cifar"
    ),
    "downloads and archives of photographs": "data_copies data_download",
    "comparisons with another library": "families_parity parity",
    "the pages as a site, and as files": "docs docs_zh live live_session site types",
}
LEFT_OUT = {f"test_{name}.py": why for why, names in ELSEWHERE.items() for name in names.split()}

# Files that take longest, without which a run is short.
LONG: tuple[str, ...] = ()
