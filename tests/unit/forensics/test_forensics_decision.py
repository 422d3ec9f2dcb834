"""Decisions keep the promised rate of false alarms, and name what led to them."""

import math

import numpy as np
import pytest

from intact.errors import UsageError
from intact.forensics.base import Evidence, Finding, Severity
from intact.forensics.decision import Genuine, compared, decide, group_of
from intact.forensics.examination import Examination
from intact.image import Image

GROUP = "CT, planes"


def said(score, p_value=None):
    return Evidence("noise", score, np.zeros((2, 2), np.float32), "said", p_value=p_value)


SILENT = Evidence("noise", math.nan, None, "", abstained="there is no noise")


def examination(*findings, **evidence):
    return Examination(findings, evidence)


def genuine(count, seed=0):
    """Three examiners: two that agree, one on its own that abstains now and then."""
    rng = np.random.default_rng(seed)
    told = []
    for _ in range(count):
        shared = rng.normal()
        scores = {"a": shared + 0.1 * rng.normal(), "b": shared}
        if rng.random() < 0.7:
            scores["c"] = rng.exponential()
        told.append(scores)
    return told


def test_p_values_of_genuine_images_are_uniform():
    """Whatever the scores, however they depend on one another, and with abstentions."""
    p_values = []
    for seed in range(400):
        *others, one = genuine(40, seed)
        p_values.append(Genuine.of((GROUP, each) for each in others).p_value(one, GROUP))
    for alpha in (0.05, 0.1, 0.25, 0.5):
        share = np.mean(np.array(p_values) <= alpha)
        assert share <= alpha + 2.5 * math.sqrt(alpha * (1 - alpha) / 400)
    assert np.mean(np.array(p_values) <= 0.5) > 0.3  # and do not hide behind caution


def test_what_stands_out_by_one_examiner_gets_the_smallest_p_value():
    reference = Genuine.of((GROUP, each) for each in genuine(99))
    assert reference.p_value({"a": 0.0, "b": 0.0, "c": 50.0}, GROUP) == pytest.approx(0.01, abs=0.02)
    assert reference.p_value({"a": -9.0, "b": -9.0, "c": -9.0}, GROUP) > 0.5


def test_images_of_another_group_are_not_compared():
    reference = Genuine.of((GROUP, each) for each in genuine(99))
    assert reference.p_value({"a": 9.0}, "MR, planes") is None
    decision = decide(examination(a=said(99.0)), "MR, planes", reference, 0.05)
    assert decision.p_value is None and not decision.flagged


def test_null_models_are_corrected_for_their_number():
    evidence = {name: said(1.0, 0.9) for name in "abc"} | {"d": said(5.0, 0.004), "e": SILENT}
    decision = decide(examination(**evidence), GROUP, None, 0.05)
    assert decision.p_value == pytest.approx(4 * 0.004) and decision.counted == ("d",)
    assert not decide(examination(**evidence), GROUP, None, 0.01).flagged


def test_both_ways_share_the_rate():
    reference = Genuine.of((GROUP, each) for each in genuine(199))
    by_model = decide(examination(d=said(9.0, 1e-6), a=said(0.0)), GROUP, reference, 0.05)
    assert by_model.p_value == pytest.approx(2e-6) and by_model.counted == ("d",)
    by_rank = decide(examination(d=said(0.0, 1.0), c=said(60.0), a=said(-3.0)), GROUP, reference, 0.05)
    assert by_rank.p_value <= 0.03 and by_rank.counted == ("c",)
    neither = decide(examination(d=said(0.0, 1.0), c=said(0.1), a=said(-3.0)), GROUP, reference, 0.05)
    assert neither.p_value > 0.5 and not neither.flagged and neither.counted == ()


def test_what_was_taught_is_not_outvoted_by_null_models():
    """Two parts share the rate, however many examiners the other one has."""
    quiet = {f"null{n}": said(1, 1.0) for n in range(12)}
    seen = examination(lesson=said(3, 0.02), **quiet)
    assert decide(seen, GROUP, None, 0.05).p_value == pytest.approx(13 * 0.02)
    decision = decide(seen, GROUP, None, 0.05, {"lesson"})
    assert decision.p_value == pytest.approx(2 * 0.02)
    assert decision.flagged and decision.counted == ("lesson",)


def test_scores_without_anything_to_compare_with_decide_nothing():
    decision = decide(examination(a=said(1e9), b=SILENT), GROUP, None, 0.05)
    assert decision.p_value is None and not decision.flagged and compared({"b": SILENT}) == {}


@pytest.mark.parametrize("severity", Severity)
def test_headers_flag_from_unusual_on(severity):
    finding = Finding("R1", severity, "", "said", ("a.dcm",))
    decision = decide(examination(finding, a=said(0.0, 1.0)), GROUP, None, 0.05)
    assert decision.flagged == (severity >= Severity.UNUSUAL) and decision.severity == severity
    assert decision.p_value == 1.0 and decision.counted == ()


def test_scores_survive_the_file(tmp_path):
    reference = Genuine.of((GROUP, each) for each in genuine(30))
    (tmp_path / "genuine.json").write_text(reference.as_json())
    again = Genuine.load(tmp_path / "genuine.json")
    assert again.groups == reference.groups
    assert again.check(0.05) == []
    assert "too few" in again.check(0.01)[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99, "groups": {}}', "not json"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "genuine.json").write_text(text)
    with pytest.raises(UsageError, match=r"genuine\.json"):
        Genuine.load(tmp_path / "genuine.json")


def test_planes_and_volumes_are_different_groups():
    plane, volume = Image(np.zeros((4, 4)), modality="CT"), Image(np.zeros((3, 4, 4)), modality="CT")
    assert group_of(plane) == GROUP and group_of(volume) == "CT, volumes"
    assert group_of(Image(np.zeros((4, 4)))) == "unknown modality, planes"
