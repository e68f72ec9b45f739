"""Items of the text-to-image GAN that lie on the device as a whole.

Shape suffixes: M images, N items, B items of a batch, C channels, H and W rows and columns of pixels, E embedded text.
"""

import math
from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch

from trainers.text_to_image.data.items import Batch, CaptionData, TrainSampler, images_of_others, is_permutation
from trainers.text_to_image.data.pixel_cache import CachedItems, PixelCache

__all__ = ["ResidentItems", "ResidentLoader", "fits_on_device"]

_SHARE = 8
"""The data may take an eighth of a GPU's memory; the rest is for the training."""


def fits_on_device(data: CaptionData, image_size: int, device: torch.device) -> bool:
    """Whether a GPU has room for the bytes of all images and for all embedded captions of `train`."""
    num_bytes = len(data.file_names) * 3 * image_size**2 + data.num_items("train") * data.encoder.text_size * 4
    return num_bytes * _SHARE <= torch.cuda.get_device_properties(device).total_memory


class ResidentItems:
    """Images and captions that lie on the device. A damaged image is replaced as ever.

    Args:
        items: whose pixels the cache holds.
        cache: of all images.
        device: where everything comes to lie.

    Attributes:
        items_N: their numbers.
        images: numbers of their images.
        damaged: of each item, images found damaged on the way to it.
        texts_NE: embedded captions.
        pixels_MCHW: bytes of all images.

    """

    def __init__(self, items: CachedItems, cache: PixelCache, device: torch.device) -> None:
        """Read every item once."""
        found = [items[place] for place in range(len(items))]
        self.items_N = torch.tensor([item.item for item in found])
        self.images = [item.image for item in found]
        self.damaged = [item.damaged for item in found]
        self.texts_NE = torch.stack([item.text_E for item in found]).to(device)
        # A copy: the cache's memory is read-only.
        self.pixels_MCHW = torch.from_numpy(np.array(cache.pixels_MHWC)).to(device).permute(0, 3, 1, 2)


class ResidentLoader:
    """Batches taken out of items that lie on the device, in the order of a loader over the same items.

    Each batch in which a damaged image is missed names it.

    Args:
        data: the items.
        sampler: their order.
        batch_size: items a batch; the last one may have fewer.

    """

    def __init__(self, data: ResidentItems, sampler: TrainSampler, batch_size: int) -> None:
        """Keep the items as they are."""
        self.sampler, self.batch_size, self._data = sampler, batch_size, data

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return math.ceil(len(self.sampler) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Give the batches from where the sampler is; the numbers of an epoch come to the device at once."""
        data, places = self._data, list(self.sampler)
        batches = [places[start : start + self.batch_size] for start in range(0, len(places), self.batch_size)]
        images = [[data.images[place] for place in batch] for batch in batches]
        wrong = [images_of_others(each, range(len(each))) for each in images]
        rows = [places, *(list(chain.from_iterable(each)) for each in (images, wrong))]
        on_device = torch.tensor(rows, dtype=torch.int64).to(data.texts_NE.device)
        of_batches = (each.unbind() for each in torch.split(on_device, self.batch_size, dim=1))
        for batch, others, (places_B, images_B, wrong_B) in zip(batches, wrong, of_batches, strict=True):
            yield Batch(
                images_BCHW=data.pixels_MCHW.index_select(0, images_B.clamp(min=0)),
                texts_BE=data.texts_NE.index_select(0, places_B),
                wrong_B=wrong_B,
                wrong_is_permutation=is_permutation(others),
                items_B=data.items_N[batch],
                damaged=tuple(dict.fromkeys(entry for place in batch for entry in data.damaged[place])),
            )
