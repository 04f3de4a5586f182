"""Sets of terms and pairs of numbers, as cells and requests write them."""

from __future__ import annotations

import pytest

from spt_core.errors import InputError
from spt_core.terms import nearest_term, pair_of, pair_text, term_of, terms_of, terms_text

SET = ("chest_pain", "fever")


@pytest.mark.parametrize(
    "value",
    [
        ["fever", "Chest pain"],
        ["chest-pain", "fever", "fever", " "],
        "chest pain; fever",
        "chest_pain|fever",
        "fever, chest  pain",
        '["fever", "chest_pain"]',
        ("FEVER", "chest_pain"),
    ],
)
def test_a_set_is_the_same_however_it_is_written(value: object) -> None:
    assert terms_of(value, "x") == SET


@pytest.mark.parametrize(("value", "terms"), [([], ()), ("[]", ()), ("fever", ("fever",))])
def test_an_empty_list_is_a_set_without_terms(value: object, terms: tuple[str, ...]) -> None:
    assert terms_of(value, "x") == terms


@pytest.mark.parametrize("value", [7, {"a": 1}, ["fever", None], [["fever"]], "[fever", b"fever"])
def test_what_is_no_set_is_refused_by_name(value: object) -> None:
    with pytest.raises(InputError, match="the field 'x' must be .*, however: "):
        terms_of(value, "x")


def test_a_record_has_no_more_terms_than_somebody_would_list() -> None:
    with pytest.raises(InputError, match="may hold 1,000 terms, however: it holds 1,001"):
        terms_of([str(i) for i in range(1001)], "x")


def test_numbers_are_terms_too() -> None:
    assert terms_of([2, 2.0, "2"], "x") == ("2",)
    assert term_of("ICD 10", "x") == "icd_10"


@pytest.mark.parametrize("value", ["150/95", " 150 / 95 ", [150, 95], ("150", 95.0)])
def test_two_numbers_are_read_as_text_or_as_a_list(value: object) -> None:
    assert pair_of(value, "bp") == (150.0, 95.0)
    assert pair_text(pair_of(value, "bp")) == "150/95"


@pytest.mark.parametrize(
    "value",
    ["150", "150/95/3", "high", [150], [150, None], [True, 1], ["a", 1], 150, [1e300, 1], "1/x"],
)
def test_what_is_not_two_numbers_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="'bp' must be two numbers such as 150/95, however"):
        pair_of(value, "bp")


def test_the_texts_of_columns_read_back() -> None:
    assert terms_of(terms_text(reversed(SET)), "x") == SET
    assert pair_of(pair_text((36.6, -1.0)), "x") == (36.6, -1.0)


def test_the_nearest_term_is_offered_if_one_is_near() -> None:
    assert nearest_term("chest_pian", SET) == "chest_pain"
    assert nearest_term("rash", SET) is None
