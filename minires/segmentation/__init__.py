"""Segmentation: what each pixel of an image shows. Derivation: docs/segmentation.md."""

from minires.segmentation.fcn import FCN, build
from minires.segmentation.mask_loader import MaskLoader
from minires.segmentation.measures import Segmented, evaluate_masks
from minires.segmentation.task import Segmentation

__all__ = ["FCN", "MaskLoader", "Segmentation", "Segmented", "build", "evaluate_masks"]
