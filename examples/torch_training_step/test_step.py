import pytest

torch = pytest.importorskip("torch")

FEATURES, BATCH = 64, 256
DATA = torch.randn(BATCH, FEATURES, generator=torch.Generator().manual_seed(0))
TARGETS = DATA.sum(dim=1, keepdim=True)


class Trainer:
    """A regressor and its optimizer, which both sides build alike."""

    def __init__(self, *, foreach: bool) -> None:
        torch.manual_seed(1)
        layers = [layer for _ in range(8) for layer in (torch.nn.Linear(FEATURES, FEATURES), torch.nn.GELU())]
        self.model = torch.nn.Sequential(*layers, torch.nn.Linear(FEATURES, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), foreach=foreach)
        self.start = [weights.detach().clone() for weights in self.model.parameters()]

    def reset(self) -> None:
        """Put the weights and the optimizer back to the start."""
        with torch.no_grad():
            for weights, start in zip(self.model.parameters(), self.start, strict=True):
                weights.copy_(start)
        self.optimizer.state.clear()

    def step(self) -> torch.Tensor:
        """Train on one batch and return the loss."""
        self.optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(self.model(DATA), TARGETS)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


@pytest.fixture(scope="module")
def trainers():
    return {"before": Trainer(foreach=False), "after": Trainer(foreach=True)}


def test_optimizer(pair, trainers):
    """An optimizer that updates all weights at once instead of one after the other."""
    before, after = trainers["before"], trainers["after"]

    def same_losses():
        losses = {}
        for name, trainer in trainers.items():
            trainer.reset()
            losses[name] = [trainer.step() for _ in range(5)]
        torch.testing.assert_close(losses["after"], losses["before"], rtol=1e-4, atol=1e-6)  # float32, in another order

    pair(
        before=before.step,
        after=after.step,
        setup=lambda side: trainers[side].reset(),
        equivalent=same_losses,
        units=BATCH,
    )
