"""What labelling costs, and how far people agree."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from ml_backend.labels import REVIEW, Answer, Classes, agreement_of, majority, reliabilities, verdict, work_of
from ml_backend.labels.people import LONGEST, cohen_kappa, fleiss_kappa
from ml_backend.labels.reliability import ENOUGH, said_together
from ml_backend.web.report import in_words

NAMES = st.sampled_from(["walking", "jogging", "null"])


def answer(task: int, annotator: int, choice: str | None, seconds: float | None = None) -> Answer:
    return Answer("p", "r", 0.0, 4.0, choice, annotator, seconds, at=float(task), task=task)


def test_fleiss_kappa_is_that_of_the_textbook() -> None:
    counts = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    given = [[str(number) for number, n in enumerate(row) for _ in range(n)] for row in counts]
    assert fleiss_kappa(given) == pytest.approx(0.210, abs=0.0005)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=60))
def test_cohens_kappa_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    ours = cohen_kappa(pairs)
    if len({name for pair in pairs for name in pair}) > 1:
        assert ours == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))
    else:
        assert ours == 1.0
    assert ours == pytest.approx(cohen_kappa([(other, one) for one, other in pairs]))


@given(st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=20))
def test_who_agrees_has_a_kappa_of_1_and_nobody_more(tasks: list[list[str]]) -> None:
    answers = [answer(task, who, choice) for task, own in enumerate(tasks) for who, choice in enumerate(own)]
    found = agreement_of(answers)
    several = [own for own in tasks if len(own) > 1]
    if not several:
        assert found is None
        return
    assert found is not None
    assert found.clips == len(several)
    other_way = agreement_of(reversed(answers))
    assert other_way is not None
    assert (other_way.clips, other_way.confused) == (found.clips, found.confused)
    assert other_way.kappa == pytest.approx(found.kappa)
    assert found.kappa <= 1 + 1e-9
    assert (found.confused is None) == all(len(set(own)) == 1 for own in several)
    assert (found.kappa == pytest.approx(1)) == (found.confused is None)
    assert sum(n for _, n in found.by_pair.values()) == sum(len(own) * (len(own) - 1) // 2 for own in several)


def test_the_two_classes_that_are_confused_are_named() -> None:
    said = [("walking", "jogging")] * 3 + [("jogging", "walking")] + [("null", "walking")] + [("null", "null")] * 5
    answers = [answer(task, who, choice) for task, own in enumerate(said) for who, choice in enumerate(own)]
    found = agreement_of(
        [*answers, *answers, answer(99, 3, None), answer(99, 4, "null")]
    )  # as two recordings show it
    assert found is not None
    assert found.clips == 10
    assert found.confused == ("jogging", "walking", 4)
    assert found.by_class["null"] > 0.7 > found.by_class["jogging"]


def test_a_break_is_no_work() -> None:
    answers = [answer(task, 1, "walking", 4.0) for task in range(9)]
    answers += [answer(9, 1, "walking", 3600.0), answer(10, 2, "null", 8.0), answer(11, 2, "null")]
    found = work_of(answers)
    assert found is not None
    assert (found.answers, found.annotators, found.median) == (11, 2, 4.0)
    assert found.seconds == 9 * 4 + 4 * LONGEST + 8
    assert work_of([answer(1, 1, "null")]) is None


def test_the_page_says_it_in_words() -> None:
    answers = [answer(task, who, name, 6.0) for task in range(5) for who, name in ((1, "walking"), (2, "jogging"))]
    cost, agreement, details = in_words(answers, recorded=600.0)
    assert details == "kappa by class: jogging -1.00, walking -1.00; by pair of users: 1 and 2 0.00 (5 clips)"
    assert cost.startswith("10 answers took 1.0 min, 6.0 s each: 1.0 min for every 10 min of recording;")
    assert agreement.endswith("on 5 clips that several answered; most often confused: jogging and walking, 5 times")
    assert list(in_words([], 600.0)) == []
    assert list(in_words([answer(1, 1, "walking", 6.0)], 0.0)) == []


def answered(random: np.random.Generator, clips: int, right: dict[int, float], classes: int = 6) -> list[Answer]:
    """Clips whose true class is their number, answered by everybody, each right so often."""
    found = []
    for clip in range(clips):
        for person, share in right.items():
            wrong = (clip + int(random.integers(1, classes))) % classes
            name = str(clip % classes if random.random() < share else wrong)
            found.append(
                Answer("p", "r", float(clip), clip + 4.0, name, annotator=person, task=clip, at=float(person))
            )
    return found


def test_people_are_judged_by_the_clips_that_several_answered_and_answers_weigh_by_that() -> None:
    right = {1: 0.95, 2: 0.55, 3: 0.5}
    answers = answered(np.random.default_rng(0), 600, right)
    known = reliabilities(answers)
    assert {person: pytest.approx(share, abs=0.08) for person, share in right.items()} == known
    by_clip: dict[int, list[Answer]] = {}
    for answer in answers:
        by_clip.setdefault(int(answer.start_seconds), []).append(answer)
    plain = np.mean([majority([str(one.choice) for one in own]) == str(clip % 6) for clip, own in by_clip.items()])
    together = np.mean([said_together(own, known, 6) == str(clip % 6) for clip, own in by_clip.items()])
    assert together > plain + 0.15
    assert reliabilities(answers[: 3 * (ENOUGH - 1)]) == {}
    assert reliabilities([answer for answer in answers if answer.annotator == 1]) == {}
    assert reliabilities([replace(answer, source=REVIEW) for answer in answers]) == {}


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=4), st.floats(0.05, 0.99), st.floats(0.05, 0.99))
def test_what_all_say_is_never_overruled_and_what_is_not_sure_is_a_tie(
    said: list[str], first: float, other: float
) -> None:
    answers = [Answer("p", "r", 0.0, 4.0, name, annotator=number) for number, name in enumerate(said)]
    known = {0: first, **dict.fromkeys(range(1, 4), other)}
    found = verdict(said, Classes(("a", "b", "c")), lambda: said_together(answers, known, 3))
    if len(set(said)) == 1:
        assert found == said[0]
    else:
        assert found == "tie" or found in said
