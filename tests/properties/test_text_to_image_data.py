"""Property 41 of the text-to-image family: order and content of batches do not depend on worker processes."""

import dataclasses
import functools
import tempfile
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

from tests import strategies
from tests.properties.controls import fails, holds
from trainers.pytorch.loading import prepare_worker, stop_workers
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data.items import CaptionData, PairItems, TrainSampler, join_items, load_data
from trainers.text_to_image.data.synthetic import offline_data

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

TINY = TextToImageConfig.preset("tiny")
EXAMPLES = 10


class RunningOnSampler(TrainSampler):
    """Draws on from epoch to epoch, and does not start anew at each."""

    def __iter__(self):
        return RandomSampler.__iter__(self)


class ForgetfulItems(PairItems):
    """Puts whatever this process has read last into a damaged image's place."""

    last = None

    def __getitem__(self, place):
        item = super().__getitem__(place)
        if item.damaged and self.last is not None:
            item = item._replace(image_CHW=self.last)
        self.last = item.image_CHW
        return item


def join_at_random(items):
    """Choose the wrong images by this process's own generator."""
    return join_items(items)._replace(wrong_B=torch.randint(len(items), (len(items),)))


def loader_of(*, items=PairItems, sampler=TrainSampler, join=join_items, shared_generator=False):
    """Make a faulty `CaptionData.loader`."""

    def loader(data, part, *, batch_size, image_size, num_workers=0, persistent_workers=False):
        dataset = items(data, data.parts[part], image_size)
        order = sampler(dataset, batch_size)
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=order,
            num_workers=num_workers,
            persistent_workers=persistent_workers and num_workers > 0,
            generator=order.generator if shared_generator else torch.Generator(),
            worker_init_fn=prepare_worker,
            collate_fn=join,
        )

    return loader


FAULTS = {
    "a generator shared with the loader": loader_of(sampler=RunningOnSampler, shared_generator=True),
    "random wrong images": loader_of(join=join_at_random),
    "replaced by what was there": loader_of(items=ForgetfulItems),
}


@functools.cache
def offline_pictures():
    """Read once; `with_damage` makes data of its own from it."""
    return load_data(offline_data(TINY), TINY)


def with_damage(data, folder, damaged):
    """Give the same data with some images cut short."""
    for number, name in enumerate(data.file_names):
        if number in damaged:
            (folder / name).write_bytes((data.folder / name).read_bytes()[:-200])
        else:
            (folder / name).symlink_to(data.folder / name)
    return dataclasses.replace(data, folder=folder)


def batches_of(make, data, settings, seed, num_done):
    """Take the rest of one epoch and the whole of the next."""
    loader, found = make(data, "train", **settings), []
    for epoch, skipped in ((0, num_done * settings["batch_size"]), (1, 0)):
        loader.sampler.seek(seed, epoch, skipped)
        found += list(loader)
    stop_workers(loader)
    return found


def check_workers_change_nothing(make, settings, seed, num_done, damaged):
    """41: the same batches, to the bit, with and without workers, also in the middle of an epoch."""
    whole = offline_pictures()
    with tempfile.TemporaryDirectory() as folder:
        data = with_damage(whole, Path(folder), damaged)
        alone = batches_of(make, data, {**settings, "num_workers": 0}, seed, num_done)
        helped = batches_of(make, data, settings, seed, num_done)
    assert len(alone) == len(helped)
    for one, other in zip(alone, helped, strict=True):
        assert one.damaged == other.damaged
        for name in ("items_B", "wrong_B", "texts_BE", "images_BCHW"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


workers_change_nothing = holds(
    check_workers_change_nothing,
    strategies.image_loaders(),
    strategies.seeds(),
    strategies.few(3),
    strategies.damages(TINY.num_images),
    max_examples=EXAMPLES,
)


def test_41_batches_do_not_depend_on_workers():
    workers_change_nothing(CaptionData.loader)


@pytest.mark.parametrize("fault", FAULTS)
def test_41_notices_a_fault(fault):
    assert fails(workers_change_nothing, FAULTS[fault])


def test_41_holds_for_what_the_faults_are_planted_in():
    workers_change_nothing(loader_of())
