"""Pictures of answers over time."""

from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree

from embedding_assets.reporting.figures.picture import INLINE_CHARACTERS
from embedding_assets.reporting.figures.quality import quality_figure, quality_glance
from embedding_assets_tests.postgres.test_quality import measurement


def history(count: int, questions: str = "set"):
    first = measurement()
    return [
        replace(
            measurement(0.5 + n / 100, question_set=questions, accepted=n == 0),
            measured_at=first.measured_at + timedelta(days=n),
        )
        for n in range(count)
    ]


def test_they_say_the_latest_and_the_accepted():
    for picture in (quality_figure(history(4)), quality_glance(history(4))):
        ElementTree.fromstring(picture.svg)
        assert "0.530" in picture.alt
        assert "accepted 0.500" in picture.svg


def test_the_small_one_is_shown_at_once():
    assert len(quality_glance(history(200)).markdown) <= INLINE_CHARACTERS


def test_other_questions_begin_another_line():
    both = [*history(3, "other"), *history(2)]
    assert "2026-01-02" in quality_glance(both).svg
    assert quality_glance(both).svg == quality_glance(history(2)).svg
    ElementTree.fromstring(quality_figure(both).svg)


def test_nothing_is_said():
    assert "Nothing yet" in quality_figure([]).alt
    assert "Nothing yet" in quality_glance([]).alt
