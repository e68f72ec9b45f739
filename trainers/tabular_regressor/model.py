"""Network and loss of the tabular regressor, the same in every tier.

Shape suffixes: B rows of a batch, F features, H hidden units, K targets.
"""

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["ResidualBlock", "TabularRegressor", "extract_final_predictions", "mixing_weight", "regression_loss"]


class ResidualBlock(nn.Sequential):
    """x + [Linear, LayerNorm, GELU, Dropout, Linear, LayerNorm, Dropout](x), all of one width."""

    def __init__(self, hidden_size: int, dropout: float) -> None:
        """Build one block of `hidden_size` units."""
        super().__init__(
            nn.Linear(hidden_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.Dropout(dropout),
        )

    def forward(self, hidden_BH: Tensor) -> Tensor:
        """Map (B, H) to (B, H)."""
        return cast("Tensor", hidden_BH + super().forward(hidden_BH))  # type: ignore[no-untyped-call]


class TabularRegressor(nn.Module):
    """Residual network with three outputs for every target: p1 mixes, p2 and p3 are the two modes.

    Weights of linear layers start Xavier-uniform, their biases at zero. The layers have the names of the original
    program's, so that the files of its weights can be loaded.

    Args:
        num_features: columns of X, F.
        num_targets: columns of Y, K.
        hidden_size: width of the blocks, H.
        num_layers: number of blocks.
        dropout: probability of zeroing an activation.

    """

    def __init__(self, num_features: int, num_targets: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        """Build the network and draw its weights from PyTorch's global generator."""
        super().__init__()
        self.num_targets = num_targets
        self.input_proj = nn.Linear(num_features, hidden_size)
        self.input_norm = nn.LayerNorm(hidden_size)
        self.layers = nn.Sequential(*(ResidualBlock(hidden_size, dropout) for _ in range(num_layers)))
        self.output_proj = nn.Linear(hidden_size, 3 * num_targets)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Map features (B, F) to p1, p2, p3 of every target, (B, K, 3)."""
        outputs = self.output_proj(self.layers(self.input_norm(self.input_proj(features_BF))))
        return cast("Tensor", outputs.view(-1, self.num_targets, 3))


def mixing_weight(p1_BK: Tensor) -> Tensor:
    """Mixing weight w = (1 - clamp(p1, -1, 1)) / 2: the share of p2 in the prediction, in [0, 1]."""
    return (1 - p1_BK.clamp(-1, 1)) / 2


def regression_loss(outputs_BK3: Tensor, targets_BK: Tensor) -> Tensor:
    """mean(w (p2 - y)^2 + (1 - w) (p3 - y)^2) over rows and targets, a scalar."""
    p1_BK, p2_BK, p3_BK = outputs_BK3.unbind(-1)
    w_BK = mixing_weight(p1_BK)
    return torch.mean(w_BK * (p2_BK - targets_BK) ** 2 + (1 - w_BK) * (p3_BK - targets_BK) ** 2)


def extract_final_predictions(model_output: Tensor, output_dim: int) -> Tensor:
    """Mix the two modes: w p2 + (1 - w) p3, with w of `mixing_weight`.

    Args:
        model_output: (B, K, 3), or flat (B, 3K).
        output_dim: number of targets K.

    Returns:
        Predictions (B, K), on the scale of the scaled targets.

    """
    p1_BK, p2_BK, p3_BK = model_output.reshape(-1, output_dim, 3).unbind(-1)
    w_BK = mixing_weight(p1_BK)
    return w_BK * p2_BK + (1 - w_BK) * p3_BK
