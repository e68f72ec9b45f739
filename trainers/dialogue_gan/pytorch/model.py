"""Generator, discriminator and losses of `trainers.dialogue_gan.model` once more, in PyTorch.

Layers, sizes and formulas are that module's, as Keras computes them. All that is random comes in as uniform numbers,
so that whoever holds the same numbers draws the same tokens and dropout masks, in whatever framework.

Shape suffixes: B sequences, T tokens, V token ids, E embedding, C conditions, H hidden, F filters.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.dialogue_gan.config import DialogueConfig
from trainers.dialogue_gan.pytorch.draws import HEAD_SIZES

__all__ = [
    "Discriminator", "Embedding", "Generator", "discriminator_loss", "masked", "num_parameters", "policy_loss",
    "policy_rewards", "target_log_probabilities", "teacher_forcing_loss",
]  # fmt: skip

_LEAST_PROBABILITY = 1e-7  # Keras' epsilon: keeps the logarithm of a probability finite
_KERNEL_WIDTHS = (3, 4, 5)


def masked(values: Tensor, uniforms: Tensor | None, rate: float) -> Tensor:
    """Zero what a dropout mask of that rate says, and scale up the rest; without uniform numbers, leave all as it is.

    Args:
        values: activations.
        uniforms: numbers from 0 to 1, of a shape that broadcasts to that of the values; those below `rate` drop.
        rate: probability of zeroing, in [0, 1).

    """
    if uniforms is None or rate == 0:
        return values
    return values * ((uniforms >= rate) / (1 - rate))


class Embedding(nn.Embedding):
    """Embedding that remembers what Keras' Adam takes for the square of its gradient.

    TensorFlow has the gradient of an embedding row by row as the ids come. Where an id comes more than once, Keras adds
    up the rows' squares instead of squaring their sum.

    Args:
        num_ids: rows.
        size: of each.

    Attributes:
        squares: sums of squares (ids, E) of all backward passes since they were last zeroed.

    """

    squares: Tensor

    def __init__(self, num_ids: int, size: int) -> None:
        """Begin with no gradient."""
        super().__init__(num_ids, size)
        self.register_buffer("squares", torch.zeros(num_ids, size), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the ids."""
        return cast("Tensor", _Rows.apply(self.weight, ids, self.squares))  # type: ignore[no-untyped-call]


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights_VE: Tensor, ids: Tensor, squares_VE: Tensor) -> Tensor:
        ctx.ids, ctx.squares_VE = ids, squares_VE
        return functional.embedding(ids, weights_VE)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ids_N, rows_NE = ctx.ids.flatten(), gradient.flatten(0, -2)
        ctx.squares_VE.index_add_(0, ids_N, rows_NE.square())
        return torch.zeros_like(ctx.squares_VE).index_add_(0, ids_N, rows_NE), None, None


def _recurrent(num_inputs: int, size: int) -> nn.LSTM:
    """LSTM with one bias, as Keras has it: of PyTorch's two, the second stays zero and is not trained."""
    layer = nn.LSTM(num_inputs, size, batch_first=True)
    bias = cast("Tensor", layer.bias_hh_l0)
    nn.init.zeros_(bias)
    bias.requires_grad = False
    return layer


class Generator(nn.Module):
    """Predict the logits of the next token by two LSTMs, conditioned at every step on speaker and scene.

    The weights are what PyTorch makes of them until `weights.set_keras_values` gives them theirs.

    Args:
        config: sizes.
        num_characters: speakers.
        num_scenes: scenes.

    """

    def __init__(self, config: DialogueConfig, num_characters: int, num_scenes: int) -> None:
        """Make the layers, under the names of the TensorFlow model."""
        super().__init__()
        self._dropout, self._conditional = config.dropout, config.conditional
        self.token_embedding = Embedding(config.vocabulary_size, config.embedding_size)
        self.character_embedding = Embedding(num_characters, config.condition_size)
        self.scene_embedding = Embedding(num_scenes, config.condition_size)
        self.lstm_1 = _recurrent(config.embedding_size + 2 * config.condition_size, config.hidden_size)
        self.lstm_2 = _recurrent(config.hidden_size, config.hidden_size)
        self.logits = nn.Linear(config.hidden_size, config.vocabulary_size)

    def forward(
        self, tokens_BT: Tensor, characters_B: Tensor, scenes_B: Tensor, masks: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Logits (B, T, V) of the token that follows each of the tokens; see `hidden`."""
        return cast("Tensor", self.logits(self.hidden(tokens_BT, characters_B, scenes_B, masks)))

    def hidden(
        self, tokens_BT: Tensor, characters_B: Tensor, scenes_B: Tensor, masks: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Outputs (B, T, H) of the second LSTM.

        The LSTMs run over the padding too: the original's mask does not survive its concatenation.

        Args:
            tokens_BT: token ids.
            characters_B: who speaks.
            scenes_B: where.
            masks: uniform numbers of the dropout masks of either LSTM's input, (B, 1, E + C) and (B, 1, H), which is
                the same at all tokens; without them, no dropout.

        """
        first, second = masks or (None, None)
        conditions_BC = self.conditions(characters_B, scenes_B)
        conditions_BTC = conditions_BC[:, None].expand(-1, tokens_BT.shape[1], -1)
        values_BTE = torch.cat([self.token_embedding(tokens_BT), conditions_BTC], -1)
        values_BTH, _ = self.lstm_1(masked(values_BTE, first, self._dropout))
        values_BTH, _ = self.lstm_2(masked(values_BTH, second, self._dropout))
        return cast("Tensor", values_BTH)

    def conditions(self, characters_B: Tensor, scenes_B: Tensor) -> Tensor:
        """Embed speakers and scenes (B, C); zeros where the generator is not conditional."""
        conditions_BC = torch.cat([self.character_embedding(characters_B), self.scene_embedding(scenes_B)], -1)
        return conditions_BC if self._conditional else conditions_BC * 0.0


class Discriminator(nn.Module):
    """Convolutions of three widths over a sequence; gives the probability that it is real.

    The weights are what PyTorch makes of them until `weights.set_keras_values` gives them theirs.

    Args:
        config: sizes.

    """

    def __init__(self, config: DialogueConfig) -> None:
        """Make the layers, under the names of the TensorFlow model."""
        super().__init__()
        self._dropout = config.dropout
        self.token_embedding = Embedding(config.vocabulary_size, config.embedding_size)
        for width in _KERNEL_WIDTHS:
            self.add_module(f"convolution_{width}", nn.Conv1d(config.embedding_size, config.num_filters, width))
        first, second = HEAD_SIZES
        self.dense_1 = nn.Linear(len(_KERNEL_WIDTHS) * config.num_filters, first)
        self.dense_2 = nn.Linear(first, second)
        self.probability = nn.Linear(second, 1)

    def forward(self, tokens_BT: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Probability (B) of each sequence.

        Args:
            tokens_BT: token ids.
            masks: uniform numbers of the two dropout masks, (B, 128) and (B, 64); without them, no dropout.

        """
        first, second = masks or (None, None)
        values_BET = self.token_embedding(tokens_BT).mT
        pooled_BF = [self._pooled(values_BET, width) for width in _KERNEL_WIDTHS]
        values_BH = functional.relu(self.dense_1(torch.cat(pooled_BF, -1)))
        values_BH = functional.relu(self.dense_2(masked(values_BH, first, self._dropout)))
        return torch.sigmoid(self.probability(masked(values_BH, second, self._dropout)))[:, 0]

    def of_both(
        self, real_BT: Tensor, fake_BT: Tensor, real_masks: Sequence[Tensor], fake_masks: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Probabilities (B) of real and of fake sequences in one pass over all, with the masks that each has alone."""
        masks = [torch.cat(both) for both in zip(real_masks, fake_masks, strict=True)]
        together_B = self(torch.cat([real_BT, fake_BT]), masks)
        return together_B[: len(real_BT)], together_B[len(real_BT) :]

    def _pooled(self, values_BET: Tensor, width: int) -> Tensor:
        """Largest activation of every filter (B, F); as many places as tokens, of an even width one more behind."""
        padded_BET = functional.pad(values_BET, ((width - 1) // 2, width // 2))
        return functional.relu(self.get_submodule(f"convolution_{width}")(padded_BET)).amax(-1)


def target_log_probabilities(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Log-probability (B, T) that logits give to the targets."""
    return -functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none").view_as(
        targets_BT
    )


def teacher_forcing_loss(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Cross-entropy, the mean over all places: padding counts too, as everywhere in the original."""
    return -target_log_probabilities(logits_BTV, targets_BT).mean()


def discriminator_loss(real_B: Tensor, fake_B: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy on probabilities, with labels that stay `smoothing` away from 0 and 1.

    Returns:
        The sum of the real and the fake side, and the accuracy.

    """
    loss = _cross_entropy(real_B, 1.0 - smoothing) + _cross_entropy(fake_B, smoothing)
    accuracy = ((real_B > 0.5).float().mean() + (fake_B < 0.5).float().mean()) / 2
    return loss, accuracy


def _cross_entropy(probabilities_B: Tensor, label: float) -> Tensor:
    inside_B = probabilities_B.clamp(_LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    return -(label * inside_B.log() + (1.0 - label) * (1.0 - inside_B).log()).mean()


def policy_rewards(discriminator: Discriminator, tokens_BT: Tensor) -> Tensor:
    """Reward (B) of every sequence: how real the discriminator holds it, without dropout and without gradient."""
    with torch.no_grad():
        return cast("Tensor", discriminator(tokens_BT))


def policy_loss(logits_BTV: Tensor, targets_BT: Tensor, rewards_B: Tensor, mean_reward: Tensor | None = None) -> Tensor:
    """-mean_B( sum_T log p(target) * (reward - mean_B reward) ); the mean of the whole batch where ranks share one."""
    log_probabilities_B = target_log_probabilities(logits_BTV, targets_BT).sum(-1)
    baseline = rewards_B.mean() if mean_reward is None else mean_reward
    return -(log_probabilities_B * (rewards_B - baseline)).mean()


def num_parameters(network: nn.Module) -> int:
    """Trainable numbers of a network."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
