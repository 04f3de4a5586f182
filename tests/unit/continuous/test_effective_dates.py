"""Dates of effect in the words of regulators."""

from __future__ import annotations

import pytest

from spt_core.continuous.effective_dates import effective_dates, moment_of, to_come


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("This final rule is effective January 2, 2027.", "2027-01-02"),
        ("Effective Date: 2027-03-04", "2027-03-04"),
        ("The standard enters into force on 5 June 2028 and", "2028-06-05"),
        ("The rules take effect on Sept. 30, 2026", "2026-09-30"),
        ("It applies from 1 May 2027.", "2027-05-01"),
        ("The compliance date is\n July 1, 2027", "2027-07-01"),
        ("The rule goes into effect on January 1, 2028.", "2028-01-01"),
        ("The effective date of this rule is July 1, 2027.", "2027-07-01"),
        ("The effective date of the final rule is July 1, 2027.", "2027-07-01"),
        ("effective on or after January 1, 2027", "2027-01-01"),
        ("effective January 1st, 2027", "2027-01-01"),
        ("effective Monday, June 7, 2027", "2027-06-07"),
        ("Effective date: 07/01/2027", "2027-07-01"),
        ("effective from 01.07.2027", "2027-07-01"),
        ("entered into force on 2 August 2027", "2027-08-02"),
        ("in force from the 1st of May 2027", "2027-05-01"),
        ("compliance date of March 1, 2027", "2027-03-01"),
        ("effective Decision 12, 2027 of the board", None),
        ("is no longer effective January 1, 2027", None),
        ("was not effective May 1, 2027", None),
        ("effective on June 31, 2027", None),
        ("published on January 2, 2027", None),
    ],
)
def test_a_date_is_one_of_effect_only_if_the_text_says_so(text: str, date: str | None) -> None:
    assert [one.date for one in effective_dates(text)] == ([] if date is None else [date])


def test_the_words_are_kept_and_only_later_dates_are_to_come() -> None:
    found = effective_dates("effective May 1, 2026, and effective May 1, 2027")
    assert "May 1, 2027" in found[1].phrase
    assert to_come(found, moment_of("2026-05-01") + 3600) == ["2027-05-01"]


def test_a_moment_has_the_offset_that_it_names_and_is_utc_without_one() -> None:
    assert moment_of("2027-01-31") == moment_of("2027-01-31T00:00Z") == 1_801_353_600.0
    assert moment_of("2027-01-31T00:00+05:00") == 1_801_353_600.0 - 5 * 3600
