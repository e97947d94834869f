"""What is to be predicted: a few lines of code each, and a question about what they give. Nothing here is an answer:
these are calculated, by minires.exercises.predict.
"""

from minires.exercises.predictions import images, networks, numbers
from minires.exercises.predictions.prediction import Prediction

PREDICTIONS: dict[str, Prediction] = {**numbers.PREDICTIONS, **images.PREDICTIONS, **networks.PREDICTIONS}
