"""Rehearse `python -m bench.gpu` on a CUDA runtime whose kernels do nothing: a pytest plugin, by PYTEST_ADDOPTS.

There, the host's side is real and no value is: so losses are not compared, and steps that were skipped are not refused.
What such a run measures is the host's time and means nothing else; no record of it is kept.
"""

import bench.harness.bench
import bench.harness.side


def pytest_configure():
    bench.harness.bench.assert_close = lambda *_, **__: None
    bench.harness.side.Side._refuse_skipped_steps = lambda *_, **__: None
