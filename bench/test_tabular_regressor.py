"""Document 004: the tabular regressor before and after its "comprehensive optimizations"."""

import pytest

# Document 004 sets four workers, also where PyTorch would advise fewer.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.mark.claim("tabular-regressor.whole")
def test_document_004_as_a_whole(tabular_regressor):
    """An epoch as document 004 has it, mixed precision and four loader workers on, against the one before it."""
    tabular_regressor.epochs(before=tabular_regressor.reference(), after=tabular_regressor.optimized())


@pytest.mark.claim("tabular-regressor.amp-speed", "tabular-regressor.amp-memory")
def test_mixed_precision(tabular_regressor):
    """An epoch in mixed precision against the same in float32, nothing else changed."""
    tabular_regressor.epochs(
        before=tabular_regressor.restructured(),
        after=tabular_regressor.restructured(mixed_precision=True),
        passes=["time", "memory"],
    )


@pytest.mark.claim("tabular-regressor.loader-workers")
def test_loader_workers(tabular_regressor):
    """An epoch whose batches four persistent workers assemble against one that assembles its own."""
    tabular_regressor.epochs(
        before=tabular_regressor.restructured(),
        after=tabular_regressor.restructured(loader_workers=True, persistent_workers=True),
    )


def test_restructured(tabular_regressor):
    """The optimized trainer with every switch off against the reference: what rewriting alone changes."""
    tabular_regressor.epochs(before=tabular_regressor.reference(), after=tabular_regressor.restructured())


@pytest.mark.control_pair
def test_control(tabular_regressor):
    """Two separately built reference trainers: what identical code differs by on this machine."""
    tabular_regressor.epochs(before=tabular_regressor.reference(), after=tabular_regressor.reference())
