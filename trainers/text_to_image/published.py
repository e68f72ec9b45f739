"""The text-to-image training as the authors of document 003 published it, defects included.

It is the optimized tier with what their program does otherwise, a switch each. With these switches off it is the
optimized tier. That program also clips gradients that are still multiplied by the loss scale; by which norm is not
known here, so it is left out.
"""

from collections.abc import Callable, Mapping

import torch

from trainers.contract import BadInput
from trainers.switches import resolve
from trainers.text_to_image.config import PUBLISHED_SWITCHES, SWITCHES, TextToImageConfig
from trainers.text_to_image.data.items import Batch, CaptionData
from trainers.text_to_image.optimized import OptimizedTrainer

__all__ = ["PublishedTrainer"]


class PublishedTrainer(OptimizedTrainer):
    """The training of the published program, each of its defects behind a switch.

    Args:
        config: sizes, hyperparameters, and what each switch changes a value to.
        data: captions and images.
        device: where the networks live.
        seed: of the weights, the order of the batches and the noise.
        log: takes the lines that the training prints.
        switches: what is on; a switch not named here is as document 003 has it, and a defect is on.

    """

    def __init__(  # noqa: PLR0913 - the optimized tier's
        self,
        config: TextToImageConfig,
        data: CaptionData,
        *,
        device: torch.device,
        seed: int,
        log: Callable[[str], None] = print,
        switches: Mapping[str, bool] | None = None,
    ) -> None:
        """Bind every switch once; from then on nothing asks for them."""
        on = resolve(PUBLISHED_SWITCHES, switches)
        documented = {switch.name: on[switch.name] for switch in SWITCHES}

        # --- The switches of the defects, bound here and read nowhere else ---
        if on["autocast_on_cuda_only"] and device.type != "cuda":
            documented["mixed_precision"] = False
        self._fixed_size = config.image_size if on["fixed_network_depth"] else None
        # --- End of the switches ---

        super().__init__(config, data, device=device, seed=seed, log=log, switches=documented)
        self.switches = on

    def _try(self, batches: list[Batch]) -> tuple[float, float]:
        try:
            return super()._try(batches)
        except RuntimeError as error:
            size = self.config.image_size
            if self._fixed_size in {None, size}:
                raise
            reason = str(error).partition("\n")[0]
            what = f"the published networks, made for {self._fixed_size} pixels, fail at {size} ({reason})"
            raise BadInput(what, "text_to_image", "turn off smaller_images or fixed_network_depth") from error

    def _network_size(self, config: TextToImageConfig) -> int:
        return super()._network_size(config) if self._fixed_size is None else self._fixed_size
