"""The processes of one training: who am I, how many are we, and sums over all, on the engine that a cluster has."""

from minires.ranks.alone import ALONE, Ranks

__all__ = ["ALONE", "Ranks"]
