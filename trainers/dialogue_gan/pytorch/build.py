"""The dialogue GAN once more in PyTorch, for machines on which TensorFlow has no GPU: the way in.

The same networks, losses, batches and updates as the TensorFlow trainers, to 1e-5 where both are given the same random
numbers; weights and whole states pass between the two as NumPy arrays. Its tiers `reference` and `optimized` are the
program before and after documents 000 to 002; `fastest` does the reference's work as fast as the hardware allows.
Claims about the TensorFlow program are not judged by them. PyTorch is imported when a trainer is built.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainers.contract import BadInput, Trainer
from trainers.dialogue_gan.config import PRESETS, TWIN_OPTIMIZED_SWITCHES, TWIN_SWITCHES, TWIN_TIERS, DialogueConfig

__all__ = ["PRESETS", "TWIN_OPTIMIZED_SWITCHES", "TWIN_SWITCHES", "TWIN_TIERS", "DialogueConfig", "build"]


def build(  # noqa: PLR0913 - all but the tier are keywords, and a caller gives the few it cares about
    tier: str,
    *,
    preset: str = "smoke",
    data: str | Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    switches: Mapping[str, bool] | None = None,
    log: Callable[[str], None] | None = None,
    **overrides: Any,
) -> Trainer:
    """Build a trainer, ready for its first step.

    Two tiers built with the same arguments start with the same weights, see the same batches in the same order, draw
    the same dropout masks and, as long as their weights agree, the same fake sequences. From TensorFlow's tiers they
    differ in the weights they start with and in what is drawn; `load_state` takes a state of those.

    Args:
        tier: one of `TWIN_TIERS`.
        preset: one of `PRESETS`.
        data: a text file of dialogue; without it the family's offline data, made at the first call and then kept.
        device: `cpu`, `cuda` or `cuda:1`.
        seed: of the weights, the order of the batches, dropout and fakes. The offline data has its own, `data_seed`.
        switches: settings by name, of `TWIN_OPTIMIZED_SWITCHES` for the optimized tier, whose defaults are the
            documents', and of `TWIN_SWITCHES` for the fastest, of which those not named are on where the device makes
            them pay. The reference has no switches.
        log: takes the lines that the original prints; without it they are printed.
        overrides: values of `DialogueConfig` that differ from the preset's; those that only TensorFlow's tiers read
            do nothing here. `eager` is True unless it is given: with False the reference's train steps are compiled by
            `torch.compile`. The optimized tier asks its switch `compiled_steps` instead.

    Returns:
        A `contract.Trainer` with three phases: `generator_pretraining`, `discriminator_pretraining`, `adversarial`.

    Raises:
        BadInput: an unknown tier, preset, switch or configuration key, a bad value, bad data, no such device, or
            PyTorch is not installed.

    """
    if tier not in TWIN_TIERS:
        raise BadInput(f"unknown tier {tier!r}", "tier", f"choose one of: {', '.join(TWIN_TIERS)}")
    config = DialogueConfig.preset(preset).replace(eager=True).replace(**overrides)
    if find_spec("torch") is None:
        raise BadInput("torch is not installed", "environment", "pip install torch")
    # Imported here so that asking for names and presets costs no import of PyTorch.
    from trainers.dialogue_gan.pytorch import assembly  # noqa: PLC0415

    return assembly.assemble(tier, config, data=data, device=device, seed=seed, switches=switches, log=log)
