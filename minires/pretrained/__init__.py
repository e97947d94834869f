"""Weights from other frameworks' files, read without those frameworks and without running what a file contains.

state, metadata = read("resnet50.pth")        arrays under torchvision's names, and what is known of them
load(model, "resnet50.pth", head="new")       into a model, its last layer excepted
print(identify("resnet50.pth"))               what is in there
"""

from minires.pretrained.errors import WeightsError
from minires.pretrained.identity import identify
from minires.pretrained.weights import build, fill, load, read, write

__all__ = ["WeightsError", "build", "fill", "identify", "load", "read", "write"]
