"""Three rounds of federated averaging by however many ranks were started; prints how many and what came out."""

import numpy as np

from minires import checkpoint, models, optim
from minires.federated import choose_clients, federated_round, train_locally
from minires.ranks.launch import find_ranks

SIZES = (9, 4, 7, 12, 5, 8, 6)


def main():
    ranks, rng = find_ranks(), np.random.default_rng(0)
    given = [(rng.standard_normal((n, 8, 8, 3)).astype(np.float32), rng.integers(0, 10, n)) for n in SIZES]
    model = models.resnet8(rng=0)

    def train(model, client):
        train_locally(model, lambda epoch: [given[client]], 0, 2, lambda parameters: optim.SGD(parameters, lr=0.05))

    for number in range(3):
        chosen = choose_clients(len(SIZES), 0.8, np.random.default_rng([1, number]))
        federated_round(model, SIZES, chosen, train, ranks=ranks)
    if ranks.first:
        print(ranks.size, checkpoint.digest(model.state_dict()))
    ranks.close()


if __name__ == "__main__":
    main()
