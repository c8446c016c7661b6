from collections import Counter
from itertools import chain

import numpy as np
import pytest

from training.data.batches import Example, LengthBatches

# Lengths spread as Flickr8k's are: mean 11.8 with the end token, standard deviation 3.8.
_random = np.random.default_rng(0)
LENGTHS = np.clip(_random.normal(11.8, 3.8, (1003, 5)).round(), 2, 38).astype(int).tolist()


def pairs(batches: list[list[Example]]) -> Counter[tuple[int, int]]:
    return Counter((e.image, number) for batch in batches for e in batch for number in e.captions)


EVERYTHING = Counter((image, caption) for image in range(1003) for caption in range(5))


@pytest.mark.parametrize("groups", [1, 2, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_holds_every_caption_once(groups: int, shuffle: bool) -> None:
    sampler = LengthBatches(LENGTHS, 32, groups=groups, shuffle=shuffle)
    assert pairs(list(sampler)) == EVERYTHING
    assert len(list(sampler)) == len(sampler)


def test_a_picture_stands_in_a_batch_with_all_its_captions() -> None:
    assert all(len(e.captions) == 5 for batch in LengthBatches(LENGTHS, 32) for e in batch)


def test_groups_hold_a_pictures_short_captions_and_its_long_ones() -> None:
    examples: dict[int, list[Example]] = {}
    for example in chain(*LengthBatches(LENGTHS, 32, groups=2)):
        examples.setdefault(example.image, []).append(example)
    for image, parts in examples.items():
        short, long = sorted(([LENGTHS[image][i] for i in e.captions] for e in parts), key=sum)
        lists = (short, long) if max(short) <= min(long) else (long, short)
        assert max(lists[0]) <= min(lists[1])


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[Example]]:
        sampler = LengthBatches(LENGTHS, 32, seed=seed, captions_per_image=2)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 4) == order(1, 4)
    assert order(1, 4) != order(1, 5)
    assert order(1, 4) != order(2, 4)


def test_a_resumed_run_goes_on_in_the_order_it_would_have_had() -> None:
    through = LengthBatches(LENGTHS, 32, seed=3)
    for epoch in range(3):
        through.set_epoch(epoch)
        last = list(through)
    resumed = LengthBatches(LENGTHS, 32, seed=3)
    resumed.set_epoch(2)
    assert list(resumed) == last


def test_captions_are_drawn_anew_each_epoch() -> None:
    sampler = LengthBatches(LENGTHS, 32, captions_per_image=2)
    seen: set[tuple[int, int]] = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        found = pairs(list(sampler))
        assert set(found.values()) == {1}
        assert Counter(image for image, _ in found) == Counter(dict.fromkeys(range(1003), 2))
        seen |= set(found)
    # A caption is missed 12 times in a row with probability 0.6^12 = 0.2 %.
    assert len(seen) > 0.99 * len(EVERYTHING)


def test_validation_sees_all_captions_whatever_training_draws() -> None:
    assert (
        pairs(list(LengthBatches(LENGTHS, 32, captions_per_image=1, shuffle=False))) == EVERYTHING
    )


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("pictures", [1003, 64, 65, 2])
def test_processes_together_see_what_one_would_see(
    world: int, shuffle: bool, pictures: int
) -> None:
    parts, whole = [], LengthBatches(LENGTHS[:pictures], 16 * world, shuffle=shuffle, seed=1)
    for rank in range(world):
        sampler = LengthBatches(
            LENGTHS[:pictures], 16, shuffle=shuffle, seed=1, num_replicas=world, rank=rank
        )
        for other in (sampler, whole):
            other.set_epoch(7)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler) == len(whole)
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(0 < len(share) <= 16 for share in shares)
        assert set(chain(*shares)) == set(batch)
        repeated = sum(map(len, shares)) - len(batch)
        assert repeated == max(0, world - len(batch))


def test_buckets_save_padding_and_smaller_groups_more() -> None:
    # On these lengths; of a picture's five captions the longest alone decides how far it runs.
    lengths = LENGTHS * 6
    random = LengthBatches(lengths, 64, bucket=1).padding()
    bucketed = LengthBatches(lengths, 64).padding()
    assert random > 0.4
    assert bucketed < 0.65 * random
    assert LengthBatches(lengths, 64, groups=2).padding() < 0.65 * bucketed
    assert LengthBatches(lengths, 64, captions_per_image=1).padding() < 0.3 * bucketed


def test_batches_of_all_lengths_come_in_any_order() -> None:
    """Training must not run from long captions to short ones."""
    sampler = LengthBatches(LENGTHS, 8)
    longest = [max(map(sampler.longest, batch)) for batch in sampler]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3


def test_a_picture_without_captions_and_an_empty_table_do_no_harm() -> None:
    assert list(LengthBatches([[], [3]], 2, shuffle=False)) == [[Example(1, (0,)), Example(0, ())]]
    assert list(LengthBatches([], 2)) == []
    assert len(LengthBatches([], 2)) == 0
