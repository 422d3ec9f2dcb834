"""Fusion: p-values with a tail, weights that are never negative, and who is behind a decision."""

import numpy as np
import pytest

from intact.errors import UsageError
from intact.forensics.learned.fusion import Fusion, tail_p_values, weighed


def test_p_values_of_genuine_scores_are_those_of_their_ranks():
    genuine = np.sort(np.random.default_rng(0).normal(size=99))
    inside = tail_p_values(genuine, genuine)
    np.testing.assert_allclose(inside, np.arange(100, 1, -1) / 100)
    assert tail_p_values(np.array([np.nan]), genuine)[0] == 1.0


def test_beyond_the_highest_the_tail_is_exponential():
    """Of exponential scores the tail is known: p falls by e with each step of their scale."""
    genuine = np.sort(np.random.default_rng(1).exponential(2.0, 4000))
    top = genuine[-1]
    p = tail_p_values(top + np.array([0.5, 2.5, 4.5]), genuine)
    assert p[0] < 1 / 4001
    np.testing.assert_allclose(np.log(p[:2] / p[1:]), 1.0, rtol=0.15)


def test_a_member_that_knows_nothing_or_errs_gets_no_weight():
    rng = np.random.default_rng(2)
    truth = rng.random(4000) < 0.2
    seen = np.column_stack(
        [rng.normal(size=4000), rng.normal(size=4000) + 2 * truth, rng.normal(size=4000) - 2 * truth]
    )
    *weights, offset = weighed(seen, truth)
    assert weights[1] > 0.5 and weights[0] < 0.1 and weights[2] == 0.0
    balanced = 1 / (1 + np.exp(-(seen @ weights + offset)))
    assert balanced[truth].mean() - balanced[~truth].mean() > 0.4


@pytest.mark.parametrize("members", [("backbone",), ("backbone", "backbone"), ("backbone", "nobody"),
                                     ("fusion", "backbone")])  # fmt: skip
def test_members_are_two_or_more_that_exist(members):
    with pytest.raises(UsageError, match=r"member|two examiners"):
        Fusion(members=members)
