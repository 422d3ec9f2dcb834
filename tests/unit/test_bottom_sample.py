"""Bottom-k samples: fair, and a function of the set of images alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from intact.bottom_sample import BITS, Sample, bottom_k, lot, lots, smallest

KNOWN = [8189035305173858164, 2014445937062043544, 4407370370916318346]


def sample(digest, count, owner, seed=0):
    places = np.arange(count)
    return Sample(lots(seed, digest, count), np.full(count, owner), places, places[:, None] + 100.0 * owner)


def naive(samples, count):
    """Everything at once, sorted."""
    rows = [(n, o, p) for s in samples for n, o, p in zip(s.lots, s.owners, s.places, strict=True)]
    return sorted(rows)[:count]


def rows(kept):
    return list(zip(kept.lots.tolist(), kept.owners.tolist(), kept.places.tolist(), strict=True))


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    count=st.integers(1, 60),
    order=st.randoms(use_true_random=False),
)
def test_it_is_the_beginning_of_all_sorted_in_whatever_order_they_come(counts, count, order):
    samples = [sample(f"image {i}", n, i) for i, n in enumerate(counts)]
    shuffled = order.sample(samples, len(samples))
    kept = bottom_k(shuffled, count)
    assert (rows(kept) if kept else []) == naive(samples, count)
    if kept:
        np.testing.assert_array_equal(kept.vectors[:, 0], kept.places + 100.0 * kept.owners)


def test_without_patches_there_is_nothing():
    assert bottom_k([], 5) is None and bottom_k([sample("image", 0, 0)], 5) is None


def test_what_was_taken_away_was_never_there():
    samples = [sample(f"image {i}", 50, i) for i in range(30)]
    left = [s for i, s in enumerate(samples) if i not in (3, 17)]
    before, after = rows(bottom_k(samples, 200)), rows(bottom_k(left, 200))
    assert before != after
    assert after == naive(left, 200)
    assert {row for row in before if row[1] not in (3, 17)} < set(after)


def test_memory_stays_bounded(monkeypatch):
    held = []
    merge = Sample.take
    monkeypatch.setattr(Sample, "take", lambda self, which: held.append(len(self)) or merge(self, which))
    bottom_k((sample(f"image {i}", 10, i) for i in range(2000)), 50)
    assert max(held) < 3 * 50


def test_every_place_of_every_image_is_kept_equally_often():
    images, places, count, trials = 20, 15, 60, 400
    seen = np.zeros((images, places))
    for seed in range(trials):
        kept = bottom_k((sample(f"image {i}", places, i, seed) for i in range(images)), count)
        np.add.at(seen, (kept.owners, kept.places), 1)
    expected = trials * count / (images * places)
    # Drawn without replacement: a cell's variance is expected * (1 - share), not expected.
    statistic = ((seen - expected) ** 2 / (expected * (1 - count / (images * places)))).sum()
    assert 0.001 < stats.chi2.sf(statistic, images * places - 1) < 0.999


def test_lots_are_uniform_and_unrelated_between_seeds_images_and_places():
    drawn = lots(0, "image", 20_000) / 2.0**BITS
    assert stats.kstest(drawn, "uniform").pvalue > 0.001
    for other in (lots(1, "image", 20_000), lots(0, "another", 20_000)):
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.03
    patients = [lot(0, f"patient {i}") / 2.0**BITS for i in range(5_000)]
    assert stats.kstest(patients, "uniform").pvalue > 0.001


def test_lots_never_change():
    """Banks on disk rest on these numbers."""
    assert lots(0, "ab", 3).tolist() == lots(0, "ab", 9)[:3].tolist() == KNOWN
    assert lot(0, "ab") == 5274412534505414120
    assert lots(0, "ab", 1).dtype == np.int64


@pytest.mark.parametrize("count", [0, 2, 9])
def test_among_equal_numbers_the_first_is_taken(count):
    assert smallest(np.array([5, 1, 1, 7]), count).tolist() == [1, 2, 0, 3][:count]
