"""Detection: which objects are in an image, and where. Derivation: docs/detection.md."""

from minires.detection.average_precision import Detections, average_precision
from minires.detection.boxes import box_iou, nms
from minires.detection.decoding import decode
from minires.detection.detector import Detector, build
from minires.detection.head import Head
from minires.detection.loss import Targets, detection_loss
from minires.detection.positions import Positions, positions
from minires.detection.pyramid import FeaturePyramid
from minires.detection.targets import BACKGROUND, assign_targets

__all__ = [
    "BACKGROUND",
    "Detections",
    "Detector",
    "FeaturePyramid",
    "Head",
    "Positions",
    "Targets",
    "assign_targets",
    "average_precision",
    "box_iou",
    "build",
    "decode",
    "detection_loss",
    "nms",
    "positions",
]
