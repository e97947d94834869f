"""What is measured: steps of minires."""

from cases import Network, without_dropout

from minires import models, no_grad, optim
from minires.backend import to_device
from minires.layers import conv2d
from minires.training import train_step

try:
    from minires.recorded_step import RecordedStep
except ImportError:  # this file also runs other checkouts, with benchmarks/against.py
    RecordedStep = None

try:
    from minires.models.fold import fold
except ImportError:

    def fold(model):
        """The model as it is."""
        return model


try:
    from minires.precision import PRECISIONS, options_for
except ImportError:
    PRECISIONS = ("float32",)

    def options_for(model, precision):
        """None."""
        return {}


def make_step(case, peer="minires", device="cpu", graph=True, precision="float32"):
    """A function that does one step of the case on the device and returns its results, a list of arrays there.

    graph: whether steps of training on a GPU are recorded.   precision: one of PRECISIONS.
    Results are [loss] of training, [logits] of inference and [y, dx, dweight] of a convolution.
    """
    return _network(case, device, graph, precision) if isinstance(case, Network) else _conv(case)


def _network(case, device, graph, precision):
    model = without_dropout(models.build(case.model, case.num_classes, rng=0)).train(case.training).to(device)
    options = options_for(model, precision)
    optimizer = optim.SGD(model.parameters(), **case.options)
    folded = None if case.training else fold(model)
    x, labels = (to_device(array, device) for array in case.arrays())
    dtype = options.get("dtype") or x.dtype

    recorded = RecordedStep(model, optimizer, **options) if RecordedStep and graph and device != "cpu" else None

    def train():
        step = recorded or (lambda x, labels: train_step(model, optimizer, x, labels, **options))
        results = [step(x, labels)[0]]
        if recorded and recorded.whynot:
            raise RuntimeError(f"a step is not recorded: {recorded.whynot}")
        return results

    def infer():
        with no_grad():
            return [folded(x.astype(dtype, copy=False))[0]]

    return train if case.training else infer


def _conv(case):
    x, weight, dy = case.arrays()

    def step():
        y, backward = conv2d(x, weight, None, case.stride, case.padding, groups=case.groups)
        return [y, *backward(dy)]

    return step
