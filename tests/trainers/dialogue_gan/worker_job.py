"""Train a few steps of every phase as one of the workers that TF_CONFIG names, and write what came out: for tests.

Its argument is JSON: `tiers`, the number of `steps`, the `options` of `Family.build`, and `out`, the start of the names
of the files.
"""

import json
import sys
from pathlib import Path

import numpy as np

from trainers.common import checkpoint
from trainers.dialogue_gan import FAMILY
from trainers.tensorflow.cluster import join_cluster, read_cluster
from trainers.tensorflow.runtime import require_tensorflow


def figures_of(trainer, steps):
    """Train some steps of every phase; return the figures of each step, by phase."""
    found = {}
    for phase in trainer.phases:
        trainer.train_steps(steps, phase)
        found[phase] = {name: value for name, value in trainer.metrics.items() if isinstance(value, list)}
    return found


def skips_of(trainer, steps):
    """Make every gradient NaN of a batch that has a rare token; return which updates of the generator are left out."""
    state = trainer.state()
    counts = np.bincount(trainer.data.train.tokens_NT[:, :-1].ravel())
    rare = np.where(counts > 0, counts, counts.max()).argmin()
    state["generator"]["token_embedding/embeddings"][rare] = float("nan")
    trainer.load_state(state)
    skips = []
    for _ in range(steps):
        trainer.train_steps(1, trainer.phases[0])
        skips.append(trainer.metrics["num_skipped_steps"])
    return skips


def main():
    job = json.loads(sys.argv[1])
    cluster = read_cluster()
    require_tensorflow()
    strategy = join_cluster(cluster)
    for tier in job["tiers"]:
        with strategy.scope():
            trainer = FAMILY.build(tier, log=lambda _: None, **job["options"])
        figures = figures_of(trainer, job["steps"])
        checkpoint.save(Path(f"{job['out']}-{tier}-{cluster.index}.ckpt"), {"state": trainer.state()})
        skips = skips_of(trainer, job["steps"]) if tier == "optimized" else []
        result = json.dumps({"figures": figures, "skips": skips})
        Path(f"{job['out']}-{tier}-{cluster.index}.json").write_text(result, encoding="utf-8")


if __name__ == "__main__":
    main()
