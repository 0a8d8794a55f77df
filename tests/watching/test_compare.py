"""Drift is seen, and nothing else is."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

import onnxpress
from onnxpress.watching.compare import Comparison, compare_profiles
from onnxpress.watching.grouping import group_categories, group_histogram, groups_for
from onnxpress.watching.profile import Profile
from onnxpress.watching.report import markdown
from tests.watching.conftest import Profiled, draw_texts

DRAWS = 20


def compare(baseline: Profile, current: Profile, limit: float = 0.1) -> Comparison:
    return compare_profiles(baseline, current, limit=limit, confidence=0.95)


@pytest.fixture(scope="module")
def reviews(profiled: Profiled) -> Profile:
    return profiled(draw_texts("reviews", 4_000, 0))


def test_another_kind_of_text_is_seen_with_500(profiled: Profiled, reviews: Profile) -> None:
    verdicts = Counter(
        compare(reviews, profiled(draw_texts("posts", 500, seed))).verdict for seed in range(1, DRAWS + 1)
    )
    assert verdicts["drift"] >= 19, verdicts


@pytest.mark.parametrize(("texts", "wanted"), [(500, {"no drift", "not to be told"}), (2_000, {"no drift"})])
def test_two_halves_raise_no_alarm(profiled: Profiled, texts: int, wanted: set[str]) -> None:
    """Of few texts it may not be told that nothing has changed; that is no alarm."""
    verdicts: Counter[str] = Counter()
    for seed in range(DRAWS):
        both = draw_texts("reviews", 2 * texts, 100 + seed)
        verdicts[compare(profiled(both[:texts]), profiled(both[texts:])).verdict] += 1
    assert sum(verdicts[verdict] for verdict in wanted) >= 19, verdicts


def test_of_few_texts_nothing_is_told(profiled: Profiled, reviews: Profile) -> None:
    for seed in range(5):
        assert compare(reviews, profiled(draw_texts("reviews", 30, seed))).verdict == "not to be told"


def test_every_figure_is_there_and_says_what_moved(profiled: Profiled, reviews: Profile) -> None:
    found = compare(reviews, profiled(draw_texts("posts", 2_000, 1)))
    figures = {figure.name: figure for figure in found.figures}
    assert list(figures) == ["label", "score", "margin", "tokens", "unknown tokens"]
    assert figures["tokens"].verdict == figures["unknown tokens"].verdict == "drift"
    for figure in found.figures:
        assert figure.psi.low <= figure.psi.high and 0 <= figure.distance.low <= figure.distance.high
        for shares in ([group.baseline for group in figure.groups], [group.current for group in figure.groups]):
            assert sum(shares) == pytest.approx(1)
    page = markdown(found)
    assert page.startswith("# Drift\n") and "| unknown tokens | baseline | now |" in page


def test_the_same_profile_twice_is_no_drift_and_gives_the_same_page(reviews: Profile) -> None:
    found = compare(reviews, reviews)
    assert found.verdict == "no drift" and {figure.psi.low for figure in found.figures} == {0}
    assert markdown(found) == markdown(compare(reviews, reviews))


def test_which_of_both_is_the_baseline_changes_no_figure(profiled: Profiled, reviews: Profile) -> None:
    posts = profiled(draw_texts("posts", 500, 1))
    one, two = compare(reviews, posts), compare(posts, reviews)
    for forwards, backwards in zip(one.figures, two.figures, strict=True):
        assert forwards.psi.value == pytest.approx(backwards.psi.value)
        assert forwards.distance.value == pytest.approx(backwards.distance.value)


def test_the_measures_are_those_of_their_definitions(reviews: Profile) -> None:
    counts = (3_000, 1_000)
    other = msgspec.structs.replace(reviews, label_counts=counts)
    found = compare(msgspec.structs.replace(reviews, label_counts=(2_000, 2_000)), other).figures[0]
    p, q = np.array([0.5, 0.5]), np.array([0.75, 0.25])
    middle = (p + q) / 2
    divergence = sum((share * np.log2(share / middle)).sum() for share in (p, q)) / 2
    assert found.psi.value == pytest.approx(((p - q) * np.log(p / q)).sum(), rel=1e-3)
    assert found.distance.value == pytest.approx(np.sqrt(divergence), rel=1e-6)
    assert found.psi.low < found.psi.value < found.psi.high and found.verdict == "drift"


def test_intervals_hold_what_they_promise() -> None:
    """Drawn from known shares: the truth lies in the interval in no less than about its confidence."""
    from onnxpress.watching.compare import _figure, _Pair

    generator = np.random.default_rng(5)
    p, q = np.array([0.2, 0.2, 0.2, 0.2, 0.2]), np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    truth = float(((p - q) * np.log(p / q)).sum())
    held = {"above low": 0, "below high": 0}
    for _ in range(200):
        counts = np.stack([generator.multinomial(600, share) for share in (p, q)])
        groups = [np.array([place]) for place in range(5)]
        found = _figure(_Pair("x", counts, groups, list("abcde")), 0.1, 0.05, generator).psi
        held["above low"] += truth >= found.low
        held["below high"] += truth <= found.high
    assert min(held.values()) >= 0.95 * 200, held


def test_another_model_is_refused(reviews: Profile) -> None:
    for other, says in (
        (msgspec.structs.replace(reviews, labels=("negative", "neutral")), "the label 'positive' is not among"),
        (msgspec.structs.replace(reviews, labels=reviews.labels[::-1]), "the labels are not the same"),
        (msgspec.structs.replace(reviews, model="0" * 64), "the labels are the same, but not the weights"),
    ):
        with pytest.raises(onnxpress.ConfigError, match=says):
            compare(reviews, other)


def test_scores_of_a_first_stage_are_not_held_against_the_models(reviews: Profile) -> None:
    easy = msgspec.structs.replace(reviews, answered={"first": 3_000, "fp32": reviews.texts - 3_000})
    found = compare(reviews, easy)
    assert [figure.name for figure in found.figures] == ["label", "tokens", "unknown tokens"]
    assert found.verdict == "no drift" and "scores and margins are not compared" in markdown(found)
    assert len(compare(easy, easy).figures) == 5 and "not compared" not in markdown(compare(easy, easy))


@pytest.mark.parametrize(("limit", "confidence"), [(0, 0.95), (-1, 0.95), (float("nan"), 0.95), (0.1, 1), (0.1, 0)])
def test_settings_outside_their_range_are_refused(reviews: Profile, limit: float, confidence: float) -> None:
    with pytest.raises(onnxpress.ConfigError, match="must be"):
        compare_profiles(reviews, reviews, limit=limit, confidence=confidence)


def test_groups_hold_every_bin_that_has_texts() -> None:
    generator = np.random.default_rng(7)
    for _ in range(50):
        counts = generator.multinomial(500, generator.dirichlet(np.full(40, 0.1)), size=2).astype(np.int64)
        for groups in (group_histogram(counts, 5), group_categories(counts, 5)):
            assert 1 <= len(groups) <= 5
            assert sum(counts[:, bins].sum() for bins in groups) == 1_000
            assert len(np.concatenate(groups)) == len({*np.concatenate(groups).tolist()})


def test_what_no_text_of_the_baseline_has_makes_a_group_of_its_own() -> None:
    for before, after in ((3, 30), (30, 3)):
        counts = np.zeros((2, 40), dtype=np.int64)
        counts[0, before] = counts[1, after] = 500
        assert len(group_histogram(counts, 5)) == 2


def test_few_texts_make_few_groups() -> None:
    assert [groups_for(texts) for texts in (1, 100, 500, 1_000, 10**6)] == [2, 2, 5, 10, 10]
