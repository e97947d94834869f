"""How well a network holds where images are worse than those it learned from, by accident or by intent.

Corruptions in five strengths, attacks within a ball, training against them, and checks of whether an attack's answer
can be believed. Page: docs/robustness.md.
"""

from minires.robustness.accuracy import ATTACKS, attack_accuracy, corruption_accuracy
from minires.robustness.attacks import fgsm, loss_gradient, pgd
from minires.robustness.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from minires.robustness.margin import margin
from minires.robustness.masked import Quantised, Scaled
from minires.robustness.masking import Check, check_gradients, report
from minires.robustness.pictures import draw_accuracies, draw_adversarial, draw_attacks, draw_corruptions
from minires.robustness.pixels import OnPixels, ensemble_on_pixels
from minires.robustness.tables import attack_table, corruption_table, means_table, summary
from minires.robustness.training import adversarial_step

__all__ = [
    "ATTACKS",
    "CORRUPTIONS",
    "STRENGTHS",
    "Check",
    "OnPixels",
    "Quantised",
    "Scaled",
    "adversarial_step",
    "attack_accuracy",
    "attack_table",
    "check_gradients",
    "corrupt",
    "corruption_accuracy",
    "corruption_table",
    "draw_accuracies",
    "draw_adversarial",
    "draw_attacks",
    "draw_corruptions",
    "ensemble_on_pixels",
    "fgsm",
    "loss_gradient",
    "margin",
    "means_table",
    "pgd",
    "report",
    "summary",
]
