"""How right labels are: the estimate, its interval, and that an open audit's answers count for nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from test_answers import Tasks, answer_first, job, people, study  # noqa: F401  the same project

from ml_backend.errors import ConfigError
from ml_backend.jobs import (
    Jobs,
    Store,
    begin_audit,
    clusters_folder,
    end_audit,
    project_answers,
    project_audit,
    project_labels,
)
from ml_backend.jobs.audits import forget_in_audit, load_audit
from ml_backend.labels import UNLABELLED, Population, audited
from ml_backend.labels.audit import ERRING, betting_interval
from ml_backend.labelstudio.answers import answer_of
from ml_backend.settings import Settings
from ml_backend.web import create_app

Many = st.integers(2, 300)


def population(n: int, n_classes: int = 4, seed: int = 0) -> Population:
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n)
    beliefs = np.full((n_classes, n_classes), 1 / n_classes)
    return Population(labels, random.random(n), random.integers(0, 2, n), random.random(n) < 0.1, beliefs)


@effort(deadline=None, max_examples=60)
@given(Many, st.integers(0, 400), st.integers(0, 99))
def test_clips_are_drawn_once_and_never_those_that_people_labelled(n: int, count: int, seed: int) -> None:
    whole = population(n, seed=seed)
    first = whole.draw(count // 2, np.array([], dtype=np.int64), 1)
    second = whole.draw(count, first, 2)
    both = np.concatenate([first, second])
    assert len(set(both.tolist())) == len(both)
    assert not whole.by_people[both].any()
    assert len(both) == min(int((~whole.by_people).sum()), count // 2 + count)


@effort(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_who_has_looked_at_everything_knows_the_share(right: list[bool]) -> None:
    low, high = betting_interval(np.array(right), len(right))
    step = 1 / len(right) + 1e-9
    assert low - step <= np.mean(right) <= high + step
    assert high - low <= 4 * step


@effort(deadline=None, max_examples=100)
@given(Many, st.floats(0, 1), st.integers(0, 99))
def test_an_interval_lies_round_its_estimate_within_0_and_1(n: int, share: float, seed: int) -> None:
    whole, random = population(n, seed=seed), np.random.default_rng(seed)
    drawn = whole.draw(40, np.array([], dtype=np.int64), seed)
    said = np.where(random.random(len(drawn)) < share, whole.labels[drawn], 3 - whole.labels[drawn])
    said[random.random(len(drawn)) < 0.1] = UNLABELLED
    found = audited(whole, drawn, said)
    if found is None:
        assert (said == UNLABELLED).all()
        return
    every = [found.share, *found.by_class.values(), *found.by_participant.values(), *found.by_confidence]
    for one in every:
        assert 0 <= one.low <= one.value + 1e-9
        assert one.value <= one.high + 1e-9 <= 1 + 1e-9
    assert 0 <= found.macro_recall.low <= found.macro_recall.high <= 1
    assert found.share.answers == (said != UNLABELLED).sum()


def test_more_answers_make_it_narrower_and_errors_make_it_lower() -> None:
    whole = population(5000)
    drawn = whole.draw(400, np.array([], dtype=np.int64), 0)
    right = whole.labels[drawn]
    wrong = np.where(np.arange(400) % 4 == 0, (right + 1) % 4, right)
    few, many = audited(whole, drawn[:40], right[:40]), audited(whole, drawn, right)
    worse = audited(whole, drawn, wrong)
    assert few is not None
    assert many is not None
    assert worse is not None
    assert many.share.low > few.share.low > 0.5
    assert many.share.high == 1.0
    assert 0.68 < worse.share.low < worse.share.value < worse.share.high < 0.9
    assert worse.macro_recall.low < 0.78 < worse.macro_recall.high
    assert worse.share.value == pytest.approx(0.775, abs=0.01)  # a tenth was labelled by people
    assert worse.share.high / many.share.high < 0.85 / (1 - ERRING)


@pytest.mark.parametrize("share", [0.6, 0.9, 0.98])
def test_the_interval_holds_however_often_one_looks(share: float) -> None:
    random = np.random.default_rng(7)
    truth = np.arange(2000) < share * 2000
    missed = 0
    for _ in range(200):
        right = random.permutation(truth)[:80]
        intervals = [betting_interval(right[:n], len(truth)) for n in (10, 20, 40, 60, 80)]
        missed += not all(low <= share <= high for low, high in intervals)
    assert missed <= 16  # five in a hundred are allowed; more than 16 of 200 come once in 20,000


def test_an_open_audits_answers_count_for_nothing_else_and_then_as_any(
    store: Store,
    settings: Settings,
    study: Path,  # noqa: F811
) -> None:
    job(store, settings, Tasks(), study)
    folder, first = clusters_folder(settings, 1), people(study)[0].name
    with pytest.raises(ConfigError, match="label some clips first"):
        begin_audit(store, settings, 1, 10)
    for number, participant in enumerate(people(study), start=1):
        answer_first(store, settings, participant.name, "walking", number)
    draw = begin_audit(store, settings, 1, 10)
    assert len(draw.drawn) == len(set(draw.drawn)) == 10
    assert begin_audit(store, settings, 1, 12).drawn[:10] == draw.drawn
    before = project_labels(store, settings, 1)
    draw = begin_audit(store, settings, 1, 12)
    store.add_tasks(1, [(number, *pair) for number, pair in enumerate(draw.drawn, start=100)])
    for number in range(100, 111):
        choice = "walking" if number > 102 else "jogging"
        result = [{"type": "choices", "from_name": "activity", "value": {"choices": [choice]}}]
        answer = {"id": number, "task": number, "result": result, "updated_at": "2024-05-01T12:00:00Z"}
        answer["lead_time"] = 12.0 if number > 100 else 3600.0  # over coffee
        store.upsert_annotation(1, answer_of(answer))
    store.upsert_annotation(1, answer_of({"id": 111, "task": 111, "was_cancelled": True, "updated_at": "2024-05-01"}))
    given = project_answers(store, settings, 1)
    assert len(given.held) == 12
    after = project_labels(store, settings, 1)
    assert all((a.propagated == b.propagated).all() for a, b in zip(before, after, strict=True))
    found = project_audit(store, settings, 1, given)
    assert found is not None
    assert found.estimate is not None
    assert (found.answered, found.no_class, found.changed) == (11, 1, 0.0)
    assert found.estimate.share.value == pytest.approx(8 / 11, abs=0.05)
    json.dumps(found.as_dict())
    assert found.seconds == 10 * 12 + 5 * 12
    assert "from 11 audit clips, 3 minutes, 1 more showed no class)" in str(found)
    web = create_app(settings, store, Jobs(settings, store)).test_client()
    assert "of 12 audit clips answered" in web.get("/").text
    assert web.get("/status/1").get_json()["audit"]["answered"] == 11

    assert web.post("/audit/1/close").status_code == 302
    with pytest.raises(ConfigError, match="none is open"):
        end_audit(store, settings, 1)
    given = project_answers(store, settings, 1)
    assert given.held == {}
    assert [one.source for one in given.answers].count("audit") == 12
    closed = project_audit(store, settings, 1, given)
    assert closed is not None
    assert closed.estimate == found.estimate
    assert closed.seconds == found.seconds
    assert closed.changed > 0  # jogging is known now
    assert closed.draw.closed is not None
    assert replace(closed.draw, closed=None, said=(), seconds=0.0) == draw

    forget_in_audit(folder, first)
    left = load_audit(folder)
    assert left is not None
    assert first not in json.dumps([left.drawn, left.participants])
    assert project_audit(store, settings, 1, given) is not None
    for name in left.participants:
        forget_in_audit(folder, name)
    assert project_audit(store, settings, 1, given) is None


@pytest.mark.parametrize("clips", ["0", "-3", "x", "99999999999999999999999", "5001"])
def test_how_many_clips_are_drawn_is_checked(store: Store, settings: Settings, clips: str) -> None:
    store.save_project(1, title="t")
    web = create_app(settings, store, Jobs(settings, store)).test_client()
    answer = web.post("/audit/1", data={"clips": clips})
    assert answer.status_code == 400
    assert "clips" in answer.get_json()["error"]
