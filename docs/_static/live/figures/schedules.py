"""Learning-rate schedules over a thousand iterations, as code and as numbers."""

from minires import schedules

STEPS = 1000
KINDS = {  # the figure's numbers as arguments of each schedule
    "StepLR": lambda lr, length, **_: schedules.StepLR(lr, length),
    "MultiStepLR": lambda lr, length, **_: schedules.MultiStepLR(lr, (length, (length + STEPS) // 2)),
    "CosineAnnealingLR": lambda lr, length, **_: schedules.CosineAnnealingLR(lr, length),
    "CosineAnnealingWarmRestarts": lambda lr, length, **_: schedules.CosineAnnealingWarmRestarts(lr, length, factor=2),
    "OneCycleLR": lambda lr, length, **_: schedules.OneCycleLR(lr, STEPS, pct_start=length / STEPS),
    "ConstantLR": lambda lr, **_: schedules.ConstantLR(lr),
}


def numbers(kind, lr, length, warmup):
    """-> the schedule as code, and its rate at each iteration. warmup: iterations, 0 for none."""
    schedule = KINDS[kind](lr=lr, length=length)
    if warmup:
        schedule = schedules.LinearWarmup(schedule, warmup)
    return {"code": repr(schedule), "rates": [schedule(iteration) for iteration in range(STEPS + 1)]}
