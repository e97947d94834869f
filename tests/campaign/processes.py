"""Attacks on threads and processes: forks, threads that compute at once, Ctrl-C at any place, memory that runs out."""

import dis
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from campaign.attack import Attack
from minires import backend, checkpoint
from minires.backend.cpu import blocks, memory
from minires.data import Loader
from minires.data.stream import Pictures
from minires.inspection.watching import watching
from minires.layers import Linear
from minires.models import resnet8
from minires.modes import keeps_backward
from minires.optim import SGD
from minires.trainer import Trainer
from minires.training import evaluate, train_step

SECONDS = 30.0  # after which a thread or a child hangs
BLOCK = 50_000  # bytes: small arrays are cut into several blocks
SIZE, CLASSES = 12, 3


def prepare(folder: Path) -> Path:
    """Two threads, small blocks, and everything called once, so that what is kept from call to call is there."""
    backend.set_threads(2)
    blocks.BLOCK_BYTES = BLOCK
    for scenario in SCENARIOS.values():
        scenario(folder)
    return folder


# What is done, again and again: each gives bytes that depend on nothing else ------------------------------------


def _images(count=20):
    rng = np.random.default_rng(1)
    return rng.integers(256, size=(count, SIZE, SIZE, 3), dtype=np.uint8), rng.integers(CLASSES, size=count)


def _loader(images, labels):
    return Loader(images, labels, 10, (0.5,) * 3, (0.25,) * 3, shuffle=True)


def _bytes(model):
    return b"".join(array.tobytes() for array in model.state_dict().values())


def arrays(folder: Path) -> bytes:
    """Blocks, and arrays from the pool that are used again."""
    x = backend.zeros((4, memory.POOLED_BYTES // 4), np.zeros(0, np.float32))
    y = backend.map_blocks(np.cos, x)
    del x
    return (backend.map_blocks(np.negative, y) + backend.zeros(y.shape, y)).tobytes()


def watched(folder: Path) -> bytes:
    """A model watched."""
    model = Linear(2, 3, rng=0)
    with watching(model) as calls:
        y, _ = model(np.ones((2, 2), np.float32))
    assert "forward" not in vars(model) and len(calls) == 1, "a model is still watched"
    return y.tobytes()


def step(folder: Path) -> bytes:
    """Forward, backward and update."""
    model = resnet8(CLASSES, rng=0)
    x, labels = next(_loader(*_images()).epoch(0))
    train_step(model, SGD(model.parameters(), lr=0.1, momentum=0.9), x, labels)
    return _bytes(model)


def evaluation(folder: Path) -> bytes:
    """Inference, in its modes."""
    return repr(evaluate(resnet8(CLASSES, rng=0), _loader(*_images()), CLASSES)).encode()


def pictures(folder: Path) -> bytes:
    """An epoch of pictures that threads decode."""
    images, labels = _images()
    shown = Pictures([str(number) for number in range(20)], lambda path: images[int(path)], SIZE, workers=2)
    return b"".join(x.tobytes() for x, _ in _loader(shown, labels).epoch(0))


def run(folder: Path) -> bytes:
    """A run of one epoch, with its checkpoints."""
    model, images = resnet8(CLASSES, rng=0), _images()
    optimizer = SGD(model.parameters(), lr=0.1)
    trainer = Trainer(
        model, optimizer, lambda i: 0.1, _loader(*images), None, epochs=1, folder=folder, num_classes=CLASSES
    )
    trainer.run()
    return _bytes(model)


SCENARIOS: dict[str, Callable[[Path], bytes]] = {
    "arrays": arrays,
    "watched": watched,
    "step": step,
    "evaluation": evaluation,
    "pictures": pictures,
    "run": run,
}


# What must hold afterwards --------------------------------------------------------------------------------------


def blas_threads() -> list[int]:
    """Of each BLAS in the process."""
    import threadpoolctl

    return [
        library.num_threads for library in threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    ]


def in_another_thread(function: Callable[[], Any]) -> Any:
    """What it returns there. Raises AssertionError where it does not end."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert result, "another thread hangs, or failed"
    return result[0]


def check_all_is_well(threads_of_blas: list[int]) -> None:
    """Nothing is locked, BLAS has its threads, the pool's books are right, no thread is left, modes are as before."""
    gc.collect()
    assert blas_threads() == threads_of_blas, f"BLAS had {threads_of_blas} threads, now {blas_threads()}"
    in_another_thread(lambda: backend.set_threads(2) or True)
    pool = memory._pool
    assert pool.lent == 0, f"the pool's books say that {pool.lent} bytes are lent, none is"
    kept = sum(block.nbytes for of_a_size in pool.free.values() for block in of_a_size)
    assert pool.kept == kept, f"the pool's books say that {pool.kept} bytes are kept, {kept} are"
    running = [thread for thread in threading.enumerate() if thread.ident]  # one whose start was interrupted never runs
    left = [thread.name for thread in running if thread.name.startswith("minires-pictures")]
    assert not left, f"threads are left: {left}"
    assert keeps_backward(), "no_grad() has not ended"


# Interrupts -----------------------------------------------------------------------------------------------------

# Python looks for signals after these, and nowhere else; so `with lock:` cannot be split. Python 3.10 looks more often.
_LOOKS = ("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE")
_OPS = np.array([name.startswith(_LOOKS) for name in dis.opname])
_CAUGHT = dis.opmap.get("PUSH_EXC_INFO")
_WATCHED = ("minires", "threading.py", "contextlib.py", "concurrent", "queue.py")


class Interrupt:
    """Raises `error` at the `point`-th place where Python looks for signals, in this thread; counts the places."""

    def __init__(self, point: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.point, self.error, self.places, self.where = point, error, 0, ""
        self.called: set[int] = set()

    def __enter__(self) -> "Interrupt":
        sys.settrace(self._call)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.settrace(None)

    def _call(self, frame, event, argument):
        self.called.add(id(frame.f_back))
        # where one raises in a generator expression among a call's arguments, Python itself loses those before it;
        # where one raises while Python starts a thread, that may wait for ever for the lock of its own Condition
        if frame.f_code.co_name == "<genexpr>" or not any(word in frame.f_code.co_filename for word in _WATCHED):
            return None
        if _starts_a_thread(frame):
            return None
        frame.f_trace_opcodes = True
        code, last = frame.f_code.co_code, [True]

        def trace(frame, event, argument):
            if event == "opcode":
                operation = code[frame.f_lasti]
                python = id(frame) in self.called  # whether what was called is Python's: its return is no such place
                self.called.discard(id(frame))
                looked, last[0] = last[0] and not python, _OPS[operation]
                if looked and operation != _CAUGHT:  # else the call has not returned but raised
                    self.places += 1
                    if self.places == self.point:
                        self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                        raise self.error(f"at place {self.point}")
            return trace

        return trace


def _starts_a_thread(frame):
    """Whether this is threading.Thread.start, or called by it."""
    while frame is not None and frame.f_code.co_filename == threading.__file__:
        if frame.f_code.co_name == "start":
            return True
        frame = frame.f_back
    return False


@dataclass
class Expected:
    """Of every scenario: its bytes, and how many places it has."""

    folder: Path
    results: dict[str, bytes]
    places: dict[str, int]
    blas: list[int]


def prepare_interrupts(folder: Path) -> Expected:
    """Count the places."""
    prepare(folder)
    places = {}
    for name, scenario in SCENARIOS.items():
        with Interrupt(0) as counted:
            scenario(folder)
        places[name] = counted.places
    return Expected(folder, {name: scenario(folder) for name, scenario in SCENARIOS.items()}, places, blas_threads())


def interrupt(expected: Expected, rng: np.random.Generator, number: int, folder: Path) -> str:
    """Ctrl-C at a place drawn at random; then all is well, and the same again gives the same bits."""
    name = list(SCENARIOS)[rng.integers(len(SCENARIOS))]
    point = int(rng.integers(1, expected.places[name] + 1))
    return _interrupt_at(expected, name, point, folder)


def _interrupt_at(expected, name, point, folder):
    outcome = "went through"
    with Interrupt(point) as placed:
        try:
            SCENARIOS[name](folder)
        except KeyboardInterrupt:
            outcome = f"interrupted {name}"
        except RuntimeError as error:  # threading's own conditions, interrupted, raise this while they let go of a lock
            assert isinstance(error.__context__, KeyboardInterrupt), error
            outcome = f"interrupted {name}"
    try:
        check_all_is_well(expected.blas)
        if name == "run" and (folder / "last.safetensors").exists():
            checkpoint.load(folder / "last.safetensors")
        assert in_another_thread(lambda: SCENARIOS[name](folder)) == expected.results[name], "other bits in a thread"
        assert SCENARIOS[name](folder) == expected.results[name], "other bits"
    except AssertionError as error:
        raise AssertionError(f"{error}; {name} was interrupted at place {point}, {placed.where}") from error
    return outcome


# Memory that runs out -------------------------------------------------------------------------------------------


def run_out(expected: Expected, rng: np.random.Generator, number: int, folder: Path) -> str:
    """The pool finds no memory, at a place drawn at random; then the same again gives the same bits."""
    name = list(SCENARIOS)[rng.integers(len(SCENARIOS))]
    left = [int(rng.integers(40))]

    def new(pool, size):
        left[0] -= 1
        if left[0] == 0:
            raise MemoryError(f"no memory for {size} bytes")
        return memory._Block(size)

    before, outcome = memory._Pool.new, "enough"
    memory.release()
    memory._Pool.new = new
    try:
        SCENARIOS[name](folder)
    except MemoryError:
        outcome = f"none in {name}"
    finally:
        memory._Pool.new = before
    check_all_is_well(expected.blas)
    assert SCENARIOS[name](folder) == expected.results[name], f"other bits in {name}"
    return outcome


# Threads --------------------------------------------------------------------------------------------------------


def together(expected: Expected, rng: np.random.Generator, number: int, folder: Path) -> str:
    """Four threads at once, each with what was drawn for it, get the bits of one alone."""
    names = [list(SCENARIOS)[place] for place in rng.integers(len(SCENARIOS), size=4)]
    wrong: list[str] = []
    meeting = threading.Barrier(len(names), timeout=SECONDS)

    def work(place, name):
        own = folder / str(place)
        own.mkdir()
        meeting.wait()
        try:
            if SCENARIOS[name](own) != expected.results[name]:
                wrong.append(f"{name}: other bits")
        except BaseException as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")

    others = [threading.Thread(target=work, args=each, daemon=True) for each in enumerate(names)]
    for other in others:
        other.start()
    for other in others:
        other.join(SECONDS)
    assert not any(other.is_alive() for other in others), f"{names} at once: one hangs"
    assert not wrong, f"{names} at once: {wrong}"
    check_all_is_well(expected.blas)
    return "same bits"


# Forks ----------------------------------------------------------------------------------------------------------


def fork(expected: Expected, rng: np.random.Generator, number: int, folder: Path) -> str:
    """A fork at any moment of what two other threads do: the child gets the bits of a process by itself, all end."""
    names = [list(SCENARIOS)[place] for place in rng.integers(len(SCENARIOS), size=3)]
    stop, failed = threading.Event(), []

    def repeat(place, name):
        own = folder / str(place)
        own.mkdir()
        while not stop.is_set():
            if SCENARIOS[name](own) != expected.results[name]:
                failed.append(name)

    others = [threading.Thread(target=repeat, args=each, daemon=True) for each in enumerate(names[:2])]
    for other in others:
        other.start()
    time.sleep(rng.uniform(0, 0.1))
    process = os.fork()
    if process == 0:
        _as_a_child(folder, names[2], expected.results[names[2]])
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    stop.set()
    for other in others:
        other.join(SECONDS)
    assert not any(other.is_alive() for other in others), f"{names[:2]} in other threads: one hangs after a fork"
    assert not failed, f"other bits after a fork: {failed}"
    assert code == 0, f"{names[2]} in the child of {names[:2]}: " + {-14: "hangs", 3: "other bits"}.get(code, f"{code}")
    return f"{names[2]} in a child"


def _as_a_child(folder, name, expected):
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(SECONDS))
        (folder / "child").mkdir()
        os._exit(0 if SCENARIOS[name](folder / "child") == expected else 3)
    finally:
        os._exit(1)


ATTACKS = [
    Attack(
        "interrupts",
        "Ctrl-C anywhere leaves nothing locked, lent or begun, and the same again gives the same bits.",
        prepare_interrupts,
        interrupt,
        full=20_000,
        quick=3,
    ),
    Attack(
        "no memory",
        "Where memory runs out the error comes out, and the same again gives the same bits.",
        prepare_interrupts,
        run_out,
        full=2000,
        quick=3,
    ),
    Attack(
        "threads",
        "Whatever four threads do at once, each gets the bits of one alone.",
        prepare_interrupts,
        together,
        full=1000,
        quick=2,
        hang=120.0,
    ),
]
if hasattr(os, "fork"):
    ATTACKS.append(
        Attack(
            "forks",
            "A fork at any moment: parent and child go on, and get the bits of a process by itself.",
            prepare_interrupts,
            fork,
            full=2000,
            quick=3,
            hang=120.0,
        )
    )
