"""Identifiers of Safe Harbor: patterns with their checks, the joined answer, what may be left."""

import json
import time

import pytest

from industries.healthcare.hipaa_compliance import PARTS, deidentified, residual_risk
from industries.healthcare.identifiers import IDENTIFIERS, find
from spt_core.errors import InputError
from spt_core.judgement import Span, Spans
from spt_core.policy import SpanPolicy, policy_from_json
from spt_core.task import find as find_task

TASK = find_task("healthcare/hipaa_compliance")


def labelled(text):
    return [(span.label, span.text) for span in find(text)]


@pytest.mark.parametrize(
    ("text", "label", "value"),
    [
        ("born 3/14/1961 at home", "date", "3/14/1961"),
        ("on March 3rd, 2020 she", "date", "March 3rd, 2020"),
        ("seen 14 Feb. 2021 again", "date", "14 Feb. 2021"),
        ("since 2021-02-14 12:30", "date", "2021-02-14 12:30"),
        ("a 94-year-old man", "date", "94"),
        ("call (415) 555-0134 now", "phone", "(415) 555-0134"),
        ("call +41 44 668 18 00", "phone", "+41 44 668 18 00"),
        ("fax: 415-555-0134", "fax", "415-555-0134"),
        ("a.b+c@clinic.example.org", "email", "a.b+c@clinic.example.org"),
        ("SSN 078-05-1121", "ssn", "078-05-1121"),
        ("ITIN 912-90-3456", "other_id", "912-90-3456"),
        ("MRN: 00471920", "medical_record", "00471920"),
        ("Medicare 1EG4-TE5-MK73", "health_plan", "1EG4-TE5-MK73"),
        ("card 4111 1111 1111 1111", "account", "4111 1111 1111 1111"),
        ("IBAN GB82 WEST 1234 5698 7654 32", "account", "GB82 WEST 1234 5698 7654 32"),
        ("routing number 021000021", "account", "021000021"),
        ("NPI 1234567893", "license", "1234567893"),
        ("DEA AB1234563", "license", "AB1234563"),
        ("VIN 1M8GDM9AXKP042788", "vehicle", "1M8GDM9AXKP042788"),
        ("plate no. ABC-1234", "vehicle", "ABC-1234"),
        ("IMEI 490154203237518", "device", "490154203237518"),
        ("UDI (01)00614141999996", "device", "00614141999996"),
        ("at 00:1A:2b:3c:4D:5e", "device", "00:1A:2b:3c:4D:5e"),
        ("see https://a.example/x?y=1.", "url", "https://a.example/x?y=1"),
        ("from 192.168.0.17.", "ip_address", "192.168.0.17"),
        ("from 2001:db8::8a2e:370:7334", "ip_address", "2001:db8::8a2e:370:7334"),
        ("fingerprint ID 88-1207", "biometric", "88-1207"),
        ("photo IMG_0042.jpg", "photo", "IMG_0042.jpg"),
        ("study no. NCT04280705", "other_id", "NCT04280705"),
        ("Boston, MA 02116-3205", "location", "02116-3205"),
    ],
)
def test_an_identifier_with_a_form_is_found_as_it_stands(text, label, value):
    assert labelled(text) == [(label, value)]


@pytest.mark.parametrize(
    "text",
    [
        "in 2019 and 2020",
        "aged 71, a 71-year-old",
        "BP 150/95, ratio 3/4",
        "SSN-like 000-12-3456 and 666-12-3456",
        "ITIN-like 912-89-3456",
        "card 4111 1111 1111 1112",
        "GB83 WEST 1234 5698 7654 32",
        "NPI-like 1234567894",
        "version 300.1.2.3",
        "1M8GDM9AXKP042789",
        "glucose 112, Na 140, at 10:30",
        "the policy of the clinic",
    ],
)
def test_what_fails_its_check_or_identifies_nobody_is_left(text):
    assert labelled(text) == []


def test_the_patterns_take_time_in_proportion_to_a_text():
    text = ("1-" * 3000 + "a." * 3000 + "0:" * 3000 + "MRN " * 1000)[:20_000]
    start = time.perf_counter()
    find(text)
    assert time.perf_counter() - start < 5.0


def answer(text, *spans, policy=SpanPolicy(patterns="p")):  # noqa: B008  # frozen
    return TASK.respond(Spans({"text": text}, spans, policy))


def test_identifiers_are_replaced_by_their_type_and_named_with_their_letter():
    text = "Ann Lee, MRN 4471920."
    given = answer(
        text, Span(0, 7, "Ann Lee", "name", "model"), Span(13, 20, "4471920", "medical_record")
    )
    assert given["deidentified_text"] == "[NAME], MRN [MEDICAL_RECORD]."
    assert given["identifiers"][0]["safe_harbor"] == IDENTIFIERS["name"] == "(A) names"
    assert given["identifiers"][0]["found_by"] == "model"
    assert deidentified("nothing", ()) == "nothing"


def test_the_residual_risk_is_what_held_out_recall_lets_expect():
    policy = SpanPolicy(support={"name": 100, "ssn": 5}, recalled={"name": 80, "ssn": 5})
    two = [Span(0, 3, "Ann", "name"), Span(4, 7, "Lee", "name")]
    risk = residual_risk(two, policy)
    assert risk["expected_missed"] == pytest.approx(2 * 0.2 / 0.8)
    assert risk["low"] < risk["expected_missed"] < risk["high"]
    assert (risk["level"], risk["policy"]) == ("review", policy.version)
    seldom = residual_risk([Span(0, 3, "123", "ssn")], policy)
    assert (seldom["level"], seldom["types_without_measure"]) == ("review", ["ssn"])


def test_the_risk_is_low_only_where_recall_is_high_and_was_measured():
    policy = SpanPolicy(support={"email": 500}, recalled={"email": 499})
    assert residual_risk([Span(0, 3, "a@b", "email")], policy)["level"] == "low"
    assert residual_risk([Span(0, 3, "a@b", "email")], SpanPolicy())["level"] == "review"


def test_a_note_in_which_nothing_is_named_is_low_only_where_anything_was_measured():
    assert residual_risk([], SpanPolicy(patterns="p"))["level"] == "review"
    measured = SpanPolicy(support={"email": 500}, recalled={"email": 499})
    assert residual_risk([], measured)["level"] == "low"


def test_every_identifier_of_safe_harbor_is_in_the_sample_and_stands_where_it_says():
    table = TASK.sample(1500, 0)
    seen = set()
    for text, label in zip(
        table["text"].to_pylist(), table["identifiers"].to_pylist(), strict=True
    ):
        spans = json.loads(label)
        seen |= {span["label"] for span in spans}
        assert all(text[s["start"] : s["end"]].strip() for s in spans)
    assert seen == set(IDENTIFIERS)
    assert len(IDENTIFIERS) == 18
    assert len(PARTS) == len(set(PARTS))


def test_patterns_alone_name_what_the_sample_says_and_nothing_else():
    table = TASK.sample(600, 3)
    wrong = num_true = num_hit = 0
    for text, label in zip(
        table["text"].to_pylist(), table["identifiers"].to_pylist(), strict=True
    ):
        true = {(s["start"], s["end"], s["label"]) for s in json.loads(label)}
        given = {(s.start, s.end, s.label) for s in find(text)}
        wrong += len(given - true)
        num_true += sum(name not in ("name", "location") for _, _, name in true)
        num_hit += len(given & true)
    assert wrong == 0
    assert num_hit / num_true > 0.95


def test_a_spans_policy_travels_as_json_and_its_counts_are_those_of_counted_spans():
    policy = SpanPolicy(support={"name": 10}, recalled={"name": 9}, patterns="p")
    assert policy_from_json(json.loads(json.dumps(policy.to_json()))) == policy
    assert policy.figures() == {"name_recall": 0.9}
    assert "name 9 of 10" in policy.described()["spans recalled in rows that trained nothing"]
    with pytest.raises(InputError, match="'name' has 11 of 10"):
        SpanPolicy(support={"name": 10}, recalled={"name": 11})
