"""Sharded steps by several ranks, each on a GPU of the double: with|without (NCCL) PRECISION plain|recorded.

Rank 0 prints losses, the bits of the model, and what an evaluation finds.
"""

import hashlib
import sys

import cupy_double
import nccl_double
import numpy as np

sys.modules["cupy"] = cupy_double
sys.modules["cupy.cuda.nccl"] = nccl_double
cupy_double.devices = 4
nccl_double.available = sys.argv[1] == "with"

from minires import backend, models, optim  # noqa: E402
from minires.data import Augment, Loader  # noqa: E402
from minires.position import Position  # noqa: E402
from minires.ranks.launch import find_ranks  # noqa: E402
from minires.stepping import Stepping  # noqa: E402
from minires.training import evaluate  # noqa: E402

ranks = find_ranks()
device = backend.resolve_device(f"gpu:{ranks.local_rank}")
rng = np.random.default_rng(0)
images, labels = rng.integers(0, 256, (22, 8, 8, 3), np.uint8), rng.integers(0, 10, 22)
loader = Loader(
    images, labels, 8, (0.5,) * 3, (0.3,) * 3, Augment(padding=1), shuffle=True, device=device, least_last=8
)
model = models.build("resnet8", 10, rng=1, shortcut="A", small_input=True).to(device).train()
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
steps = Stepping(model, optimizer, sys.argv[2], sys.argv[3] == "recorded", shards=4, ranks=ranks)
for number, batch in enumerate(steps.batches(loader, Position())):
    images, found = steps.step(batch, number, lambda: False)
    print(float(found.loss)) if ranks.first else None
total = hashlib.sha256()
for _, array in sorted(model.state_dict().items()):
    total.update(array.tobytes())
evaluation = evaluate(model, loader, 10, ranks=ranks)
if ranks.first:
    print(total.hexdigest(), evaluation)
    print(sorted(set(nccl_double.calls)), file=sys.stderr)
ranks.close()
