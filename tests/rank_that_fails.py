"""A script, without its pictures, as one rank among several of which one fails: SCRIPT HOW RANK flags ...

HOW is a way to fail, or "never".
"""

import errno
import importlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STEPS = 4  # shards that a rank computes before it fails

name, how, which, *flags = sys.argv[1:]
sys.argv = [str(EXAMPLES / f"{name}.py"), *flags]
sys.path.insert(0, str(EXAMPLES))
script = importlib.import_module(name)  # as if it had been started itself, before anything else is imported

import numpy as np  # noqa: E402

import minires  # noqa: E402
from minires import checkpoint, data, sharded_step  # noqa: E402
from minires.ranks import mpi  # noqa: E402

computed = 0
gradients = sharded_step.loss_and_gradients


def failing(*args, **options):
    """loss_and_gradients, until its time has come."""
    global computed
    computed += 1
    loss, right = gradients(*args, **options)
    if computed < STEPS:
        return loss, right
    if how == "raise":
        raise KeyError("a mistake of the program")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        np.ones(2**30)
    if how == "stall":
        time.sleep(600)
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGTERM if computed == STEPS else 0)
    if how == "nan":
        return loss * np.float32("nan"), right
    return loss, right


def full(path, *args, **options):
    """checkpoint.save on a disk that is full from the third time on."""
    full.times += 1
    if full.times > 2:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return save(path, *args, **options)


if how == "data":  # as if each were on a host of its own
    mpi.MPIRanks.once_per_host = lambda self, function: function()
save, full.times = checkpoint.save, 0
script.runs.Recorder.picture = lambda self, name, draw: None
if os.environ.get("PMI_RANK", "0") == which and how != "never":
    sharded_step.loss_and_gradients = failing
    if how == "disk":
        checkpoint.save = full
    if how == "version":
        minires.__version__ = "0.0.1"
    if how == "model":  # its weights go another way
        script.build = lambda *args, build=script.build: build({**args[0], "seed": 8}, *args[1:])
    if how == "data":
        script.runs.data.load = lambda *args, **more: (data.make_synthetic(train=70, seed=5), None)
sys.exit(script.main())
