"""What is to be predicted."""

from dataclasses import dataclass

VERDICT, SHAPE, NUMBER, NUMBERS = "verdict", "shape", "number", "numbers"  # kinds of answers


@dataclass(frozen=True)
class Prediction:
    """exercise: the one it comes before.   asked: an expression, after the code; of a verdict gradcheck's arguments."""

    exercise: str
    kind: str
    asked: str
    code: str
    question: str
    hint: str
    explanation: str
