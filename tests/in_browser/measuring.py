"""How long it takes in Pyodide: to import minires, to check a gradient, to judge an exercise, to train a step.

make test-browser ARGS="--measure"              in Pyodide
PYTHONPATH=tests .venv/bin/python -m in_browser.measuring     the same on this machine's processor, to compare
"""

import time
from functools import partial


def measure() -> int:
    """Print seconds, of which each is the least of three but the imports'."""
    _say("import numpy", _once(lambda: __import__("numpy")))
    _say("import minires", _once(lambda: __import__("minires")))
    import numpy as np

    from minires import gradcheck, layers, models, optim, training
    from minires.exercises import check, solution

    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 5, 5, 3)), rng.standard_normal((4, 3, 3, 3))
    _say("gradcheck of conv2d", _least(lambda: gradcheck.gradcheck(layers.conv2d, x, weight)))
    for name in ("relu", "batch_norm", "basic_block"):
        source = solution(name)["source"]
        assert check(name, source)["state"] == "passed"
        _say(f"the check of the exercise {name}", _least(partial(check, name, source)))
    model = models.resnet8(10, rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    images, labels = rng.standard_normal((32, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, 32)
    _say("a step of resnet8, batch 32", _least(lambda: training.train_step(model, optimizer, images, labels)))
    return 0


def _once(act):
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _least(act):
    return min(_once(act) for _ in range(3))


def _say(what, seconds):
    print(f"{what:<40}{seconds:6.2f} s")


if __name__ == "__main__":
    measure()
