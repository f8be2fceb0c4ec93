"""Entries of calendars: parameters in quotes, alarms, zones."""

from __future__ import annotations

import pytest

from embedding_assets.documents.formats.calendar_text import calendar_words

ALARM = ["BEGIN:VALARM", "DESCRIPTION:REMINDER", "SUMMARY:Beep", "END:VALARM"]


def words_of(*lines: str) -> str:
    return calendar_words("\r\n".join(["BEGIN:VCALENDAR", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR", ""]))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('DESCRIPTION;ALTREP="data:text/html,<p>x:</p>":Bring the plan: all', "Bring the plan: all"),
        ('LOCATION;ALTREP="http://example.com/room":Room 5', "Location: Room 5"),
        ('SUMMARY;X-A="a;b";LANGUAGE=en:One', "One"),
        ('SUMMARY;X-A="never closed:One', "One"),
        ("Summary:One", "One"),
        ("DTSTART;TZID=Europe/Berlin:20240305T100000", "Start: 2024-03-05 10:00 Europe/Berlin"),
        ('DTEND;X-A=1;TZID="(UTC+01:00) Berlin":20240305T100000', "End: 2024-03-05 10:00 (UTC+01:00) Berlin"),
        ("DTSTART;VALUE=DATE:20240305", "Start: 2024-03-05"),
        ("DUE:20240305T100000Z", "Due: 2024-03-05 10:00 UTC"),
        ("SUMMARY:", ""),
        ("COMMENT:one\r\n  two", "one two"),
        ("no line of a calendar", ""),
    ],
)
def test_a_line_is_read_behind_what_is_said_about_it(line: str, words: str) -> None:
    assert words_of(line) == words


@pytest.mark.parametrize(
    "lines",
    [
        [*ALARM, "SUMMARY:Plan", "DESCRIPTION:words"],
        ["SUMMARY:Plan", *ALARM, "DESCRIPTION:words"],
        ["SUMMARY:Plan", "DESCRIPTION:words", *ALARM, *ALARM],
        ["SUMMARY:Plan", "DESCRIPTION:words", *ALARM[:-1]],
    ],
)
def test_an_alarm_is_none_of_the_entry(lines: list[str]) -> None:
    assert words_of(*lines) == "Plan\nwords"


def test_an_entry_that_does_not_end_is_read() -> None:
    assert calendar_words("BEGIN:VEVENT\nSUMMARY:One\nBEGIN:VTODO\nSUMMARY:Two\n") == "One\n\nTwo"


def test_many_beginnings_cost_no_time() -> None:
    """Each was looked through to the end."""
    assert calendar_words("BEGIN:VEVENT\n" * 100_000 + "SUMMARY:One\n") == "One"
