"""Looking into a model: its layers as a table, what each gave and was handed back, what speaks for a class.

summary(model, (32, 32, 3))     a table of layers
watching(model)                 the calls of a model's modules, with their gradients
explain                         saliency, Grad-CAM, and whether to believe them
pictures                        all of it drawn
"""

from minires.inspection.summary import summary
from minires.inspection.watching import Call, watching

__all__ = ["Call", "summary", "watching"]
