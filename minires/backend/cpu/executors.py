"""Tasks beside the calling thread, or by it where no other can be started."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor

from minires.backend.cpu.machine import can_start_threads


class _AtOnce(Executor):
    """Does each task as it is handed in."""

    def submit(self, function, /, *args, **kwargs):
        future: Future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def executor(workers: int, name: str) -> Executor:
    """An executor of `workers` threads whose names begin with `name`; in a browser it does each task at once itself."""
    return ThreadPoolExecutor(workers, thread_name_prefix=name) if can_start_threads() else _AtOnce()
