"""Train a few steps, as one rank of torchrun or alone, and write what came out: a script for tests.

Its argument is JSON, a list of jobs: `family`, `tier`, `phases` with their numbers of steps, `options` of
`Family.build`, the file `out`, and `begin`, a file that another job wrote, to continue from.
"""

import json
import sys
from pathlib import Path
from typing import Any

from trainers import family
from trainers.common import checkpoint
from trainers.pytorch.ranks import Ranks, join_ranks


def train(job: dict[str, Any], ranks: Ranks) -> dict[str, Any]:
    """Train as a job says; return the figures of each phase, and write them with the state where it says."""
    trainer = family(job["family"]).build(job["tier"], ranks=ranks, log=lambda _: None, **job["options"])
    if job.get("begin"):
        trainer.load_state(checkpoint.load(Path(job["begin"]))["state"])
    figures = {}
    for phase, number in job["phases"].items():
        trainer.train_steps(number, phase)
        figures[phase] = {name: value for name, value in trainer.metrics.items() if isinstance(value, list)}
    content = {"figures": figures, "state": trainer.state()}
    checkpoint.save(Path(f"{job['out']}.{ranks.rank}"), content)
    trainer.close()
    return content


if __name__ == "__main__":
    joined = join_ranks()
    for one in json.loads(sys.argv[1]):
        train(one, joined)
    joined.leave()
