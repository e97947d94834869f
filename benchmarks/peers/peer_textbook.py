"""The same steps of the networks with the operations of textbook.py. Their products run on as many BLAS threads."""

from cases import OPTIONS

from minires import models
from minires.textbook import cross_entropy
from peers import textbook


def set_threads(threads):
    """BLAS's threads are set for minires already; the rest of NumPy runs on one."""


def make_step(case, peer="textbook"):
    """As in peer_minires, of a Network."""
    network = textbook.ResNet(models.build(case.model, rng=0).state_dict(), int(case.model.removeprefix("resnet")))
    network.training = case.training
    optimizer = textbook.SGD(network, **OPTIONS)
    images, labels = case.arrays()
    x = images.transpose(0, 3, 1, 2).copy()

    def train():
        logits, backward = network(x)
        loss, loss_backward = cross_entropy(logits, labels)
        backward(loss_backward(1))
        optimizer.step()
        return [loss]

    def infer():
        return [network(x)[0]]

    return train if case.training else infer
