"""The dialogue GAN once more in PyTorch, for machines on which TensorFlow has no GPU.

The same networks, losses, batches and updates as the TensorFlow trainers, to 1e-5 where both are given the same random
numbers; weights and whole states pass between the two as NumPy arrays. Built with the same arguments, the two differ in
the weights that they start with and in the random numbers; `load_state` takes a state of those. The tiers `reference`
and `optimized` are the program before and after documents 000 to 002; `fastest` does the reference's work as fast as
the hardware allows. Claims about the TensorFlow program are not judged by them.

Values of the configuration that only TensorFlow's tiers read do nothing here. With `eager=False` `torch.compile`
compiles the reference's train steps; in the optimized tier the switch `compiled_steps` decides instead.
"""

from trainers.dialogue_gan.config import PHASES, TWIN_OPTIMIZED_SWITCHES, TWIN_SWITCHES, DialogueConfig
from trainers.family import Family

__all__ = ["FAMILY"]

FAMILY = Family(
    name="dialogue_twin",
    title="the dialogue GAN in PyTorch",
    package=__name__,
    framework="torch",
    config=DialogueConfig,
    switches={"reference": (), "optimized": TWIN_OPTIMIZED_SWITCHES, "fastest": TWIN_SWITCHES},
    phases=PHASES,
    parallel_tiers=("reference", "optimized"),
    data_module="trainers.dialogue_gan.data",
    overrides={"eager": True},
)
