"""Identifiers of Safe Harbor: patterns with their checks, the joined answer, what may be left."""

import json
import time
from collections import Counter

import pytest

from industries.healthcare.hipaa_compliance import PARTS, deidentified, residual_risk
from industries.healthcare.identifiers import IDENTIFIERS, find
from spt_core.data.catalog.healthcare import read_presidio
from spt_core.errors import InputError
from spt_core.heads.spans import united
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
        ("Admitted 03/2019 for", "date", "03/2019"),
        ("DOB 3/1950, male", "date", "3/1950"),
        ("MRN is 4471920", "medical_record", "4471920"),
        ("Acct 12345678", "account", "12345678"),
        ("passport no. 123456789", "other_id", "123456789"),
        ("his passport is C01X00T47", "other_id", "C01X00T47"),
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
        ("plate 7ABC123", "vehicle", "7ABC123"),
        ("MAC address 001b44113ab7", "device", "001b44113ab7"),
        ("at 001B.4411.3AB7", "device", "001B.4411.3AB7"),
        ("call x4412", "phone", "4412"),
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
        ("San Francisco, California 94110", "location", "94110"),
        ("Zip 94110", "location", "94110"),
        ("she lives in 94110", "location", "94110"),
        ("14-Mar-2024", "date", "14-Mar-2024"),
        ("ADMITTED MARCH 14, 2024", "date", "MARCH 14, 2024"),
        ("came march 14 with", "date", "march 14"),
        ("visit on 14.03.24", "date", "14.03.24"),
        ("dated 20240314", "date", "20240314"),
        ("DOB: 03141958", "date", "03141958"),
        ("seen 3/14 for", "date", "3/14"),
        ("admitted on 12/3.", "date", "12/3"),
        ("May 5 was", "date", "May 5"),
        ("92 y.o. male", "date", "92"),
        ("pt is 93 yr old", "date", "93"),
        ("aged 95", "date", "95"),
        ("Age: 91", "date", "91"),
        ("a ninety-two year old", "date", "ninety-two"),
        ("pt 94M with", "date", "94"),
        ("call 4155550134", "phone", "4155550134"),
        ("4155550134 after 5", "phone", "4155550134"),
        ("call 555-0134", "phone", "555-0134"),
        ("call me at 415/555-0134", "phone", "415/555-0134"),
        ("phone 415-555-0134 ext. 221", "phone", "415-555-0134 ext. 221"),
        ("Mobile: 0490 75 40 81", "phone", "0490 75 40 81"),
        ("not answering at 78 651 450", "phone", "78 651 450"),
        ("(08) 8747 6301 (office)", "phone", "(08) 8747 6301"),
        ("+447700 208 815-Fax", "phone", "+447700 208 815"),
        ("pager #1234", "phone", "1234"),
        ("Ext. 4412", "phone", "4412"),
        ("Hospital No. 0012345", "medical_record", "0012345"),
        ("Pt ID 445566", "medical_record", "445566"),
        ("Subscriber ID: W123456789", "health_plan", "W123456789"),
        ("Rx number: 7712345", "other_id", "7712345"),
        ("Ref: ABC-12345", "other_id", "ABC-12345"),
        ("ID# 445566", "other_id", "445566"),
        ("Lic# A12345", "license", "A12345"),
        ("***-**-6789", "ssn", "***-**-6789"),
        ("SSN ends in 6789", "ssn", "6789"),
        ("card ending in 1111", "account", "1111"),
        ("card xxxx-xxxx-xxxx-1111", "account", "xxxx-xxxx-xxxx-1111"),
        ("call 0044 20 7946 0958", "phone", "0044 20 7946 0958"),
        ("DOD: 5/6", "date", "5/6"),
        ("week of 5/6", "date", "5/6"),
        ("Fax: 030-1234568", "fax", "030-1234568"),
        ("Encounter 12345678", "other_id", "12345678"),
        ("driver's license D1234567", "license", "D1234567"),
        ("driver\u2019s license D1234567", "license", "D1234567"),
        ("DL: D1234567", "license", "D1234567"),
        ("pgr 1234", "phone", "1234"),
        ("she turned 94", "date", "94"),
        ("03MAY21", "date", "03MAY21"),
        ("on 14MAR2023", "date", "14MAR2023"),
        ("Tues 3/14", "date", "3/14"),
        ("stayed May 14-16", "date", "May 14-16"),
        ("March 14-16, 2023", "date", "March 14-16, 2023"),
        ("from 14-16 March 2023", "date", "14-16 March 2023"),
        ("MR# 445566", "medical_record", "445566"),
        ("Med Rec No: 4455667", "medical_record", "4455667"),
        ("UNIT NO 887766", "medical_record", "887766"),
        ("portal.hospital.org/r/1", "url", "portal.hospital.org/r/1"),
        ("specimen #4155550134", "other_id", "4155550134"),
        ("SSN: xxx-xx-6789", "ssn", "xxx-xx-6789"),
        ("iban de89370400440532013000", "account", "de89370400440532013000"),
        ("MRN-00012345", "medical_record", "00012345"),
        ("mrn00012345", "medical_record", "00012345"),
        ("MRN_A0012345", "medical_record", "A0012345"),
        ("MRN: 1234567L", "medical_record", "1234567L"),
        ("born 03.14.1950", "date", "03.14.1950"),
        ("Admitted 03.14.2024", "date", "03.14.2024"),
        ("Note of 03.14.2024.", "date", "03.14.2024"),
        ("seen on 3.14.24", "date", "3.14.24"),
        ("driver license D1234567", "license", "D1234567"),
        ("driving licence D1234567", "license", "D1234567"),
        ("FIN: 123456789", "account", "123456789"),
        ("CSN 123456789", "other_id", "123456789"),
        ("EDIPI 1234567890", "other_id", "1234567890"),
        ("case #: 2024-0123", "other_id", "2024-0123"),
        ("case no.: 2024-0123", "other_id", "2024-0123"),
        ("device ID 12345X", "device", "12345X"),
        ("Insurance: member ID W123456789", "health_plan", "W123456789"),
        ("Employee ID 12345", "other_id", "12345"),
        ("Staff #12345", "other_id", "12345"),
        ("Last visit: 2024-03-14", "date", "2024-03-14"),
        ("her login ID 12345", "other_id", "12345"),
        ("Boise, ID 83702", "location", "83702"),
        ("Boise ID 83702", "location", "83702"),
    ],
)
def test_an_identifier_with_a_form_is_found_as_it_stands(text, label, value):
    assert labelled(text) == [(label, value)]


@pytest.mark.parametrize(
    ("text", "label", "value"),
    [
        ("MRN:     00471920", "medical_record", "00471920"),
        ("MRN:\t00471920", "medical_record", "00471920"),
        ("MRN :\u00a000471920", "medical_record", "00471920"),
        ("MRN:\n  00471920\n", "medical_record", "00471920"),
        ("SSN:   078051121", "ssn", "078051121"),
        ("Date of birth:\n03141958", "date", "03141958"),
        ("Age:   93", "date", "93"),
        ("Chicago, IL   60601", "location", "60601"),
        ("call  (415)\u00a0555\u20110134 now", "phone", "(415)\u00a0555\u20110134"),
        ("seen 03\u201314\u20132023", "date", "03\u201314\u20132023"),
        ("March  14,\u00a0 2024", "date", "March  14,\u00a0 2024"),
    ],
)
def test_blanks_and_dashes_of_any_kind_hide_nothing(text, label, value):
    assert labelled(text) == [(label, value)]
    (span,) = find(text)
    assert text[span.start : span.end] == value


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("3/14/2023-3/20/2023", ["3/14/2023", "3/20/2023"]),
        ("3/14/23 - 3/20/23", ["3/14/23", "3/20/23"]),
        ("3/14-3/20/2023", ["3/14", "3/20/2023"]),
        ("09.11.2021\u201315.11.2021", ["09.11.2021", "15.11.2021"]),
        ("14.03.-16.03.2023", ["14.03.", "16.03.2023"]),
        ("03.14-03.20.2023", ["03.14", "03.20.2023"]),
        ("03.14.2023 - 03.20.2023", ["03.14.2023", "03.20.2023"]),
        ("20240506-20240509", ["20240506", "20240509"]),
    ],
)
def test_both_days_of_a_stay_are_found(text, days):
    assert labelled(f"in hospital {text}.") == [("date", day) for day in days]


@pytest.mark.parametrize(
    "text",
    [
        "in 2019 and 2020",
        "a risk of 1/2000",
        "the account is closed",
        "no passport with her",
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
        "BP 120/80 and 118/76",
        "1/2 tablet, then on 1/2 tablet daily",
        "pain 8/10, strength 5/5, 2/6 murmur, from 8/10 to 3/10",
        "on 3/4 strength",
        "seen at 10:30",
        "give 20 mg, 2 x 500 mg, 0.5 ml",
        "E11.65, I10, S72.001A, Z79.4",
        "version 1.2.3.4, firmware 10.02.11",
        "May 5 refills, take 2 May repeat, 5 may be",
        "aged 71, Age: 89, age 9",
        "92 % on air, a 101 F fever, T 99.1 F",
        "WBC 4155550 /ml, 4155550134 copies/ml",
        "lab id 4155550134, test no. 4155550134",
        "turned 90 degrees, the head turned 95\u00b0",
        "MR: mild, MR 2+, unit: ward",
        "called 3/14/5",
        "home on 2 liters, office at 10:30",
        "e.g. this, i.e. that",
        "platelets 94110, lives in 2 rooms",
        "growth plate 12mm wide, plate 2023, plates 4mm, a plate with 6holes",
        "Order: 500mg now, Rx: 20mg daily, Patient: 65yo, group: 12-24h",
        "software 1.12.2024, version 03.14.2024, firmware v03.14.2024, build 3.14.2024",
        "MRN-based, MRN pending, FIN: closed, EDIPI unknown, driver license expired in 2023",
        "case # 3, device 5x, device: 250x, order: 12-24h, visit 3, staff: 5000 units",
        "ratio 1.14.20, pH 7.31.2, L4.5, 13.14.2024 and 03.32.2024",
        "seen by ID 1200, per ID 500mg, student 2023, user: 2x daily",
        "order 500 units, study 2019, ratio 1.2-1.4.10, 1/2-3/4 strength, sat at 2/10",
    ],
)
def test_what_fails_its_check_or_identifies_nobody_is_left(text):
    assert labelled(text) == []


def test_the_patterns_take_time_in_proportion_to_a_text():
    for text in (
        ("1-" * 3000 + "a." * 3000 + "0:" * 3000 + "MRN " * 1000)[:20_000],
        "1 (2) " * 1000,
        "call me at " * 1000,
        "seen on 3/14 and " * 300,
        "May 5, " * 500,
    ):
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


MEASURED = SpanPolicy(
    support=dict.fromkeys(IDENTIFIERS, 500),
    recalled=dict.fromkeys(IDENTIFIERS, 499),
    characters=1_000_000,
)


def risk(spans, policy, num_characters=200):
    return residual_risk(spans, policy, num_characters=num_characters)


def but(policy, **counts):
    """The policy with (recalled, support) of some types."""
    support = {**policy.support, **{name: number for name, (_, number) in counts.items()}}
    recalled = {**policy.recalled, **{name: number for name, (number, _) in counts.items()}}
    return SpanPolicy(support=support, recalled=recalled, characters=policy.characters)


def test_the_residual_risk_is_what_held_out_recall_lets_expect():
    policy = SpanPolicy(support={"name": 100, "ssn": 5}, recalled={"name": 80, "ssn": 5})
    two = [Span(0, 3, "Ann", "name"), Span(4, 7, "Lee", "name")]
    told = risk(two, policy)
    assert told["expected_missed"] == pytest.approx(2 * 0.2 / 0.8)
    assert told["low"] < told["expected_missed"] < told["high"]
    assert (told["level"], told["policy"]) == ("review", policy.version)
    assert told["types_below_floor"] == ["name"]
    seldom = risk([Span(0, 3, "123", "ssn")], policy)
    assert (seldom["level"], seldom["expected_missed"]) == ("review", None)
    assert "ssn" in seldom["types_without_measure"]


def test_a_type_of_which_none_is_named_is_expected_as_often_as_it_was_there():
    policy = SpanPolicy(support={"name": 300}, recalled={"name": 240}, characters=30_000)
    told = risk([], policy, 1000)
    assert told["expected_missed"] == pytest.approx(0.01 * 1000 * 0.2)
    assert told["low"] < told["expected_missed"] < told["high"]
    # Seventeen types were never there, each at most 3.67 times in as much text (Byar).
    only = risk([], SpanPolicy(support={}, recalled={}, characters=30_000), 1000)
    assert (only["expected_missed"], only["low"]) == (0.0, 0.0)
    assert only["high"] == pytest.approx(18 * 3.67 / 30, rel=0.01)


def test_the_risk_is_low_only_where_the_recall_of_every_type_is_high_and_was_measured():
    email = [Span(0, 3, "a@b", "email")]
    assert risk(email, MEASURED)["level"] == "low"
    assert risk(email, MEASURED)["reasons"] == []
    assert risk(email, SpanPolicy())["level"] == "review"
    poor = risk(email, but(MEASURED, name=(470, 500)))
    assert (poor["level"], poor["types_below_floor"]) == ("review", ["name"])
    unseen = risk(email, but(MEASURED, biometric=(9, 9)))
    assert (unseen["level"], unseen["types_without_measure"]) == ("review", ["biometric"])
    assert risk(email, MEASURED, 1_000_000)["reasons"] == ["the upper end"]


def test_a_note_in_which_nothing_is_named_is_never_low():
    for policy in (SpanPolicy(patterns="p"), MEASURED):
        assert risk([], policy)["level"] == "review"
    assert risk([], MEASURED)["reasons"] == [
        "nothing is named, which is no proof that nothing is there"
    ]


def test_a_policy_of_before_the_count_of_characters_answers_and_never_says_low():
    stored = {"kind": "spans", "support": MEASURED.support, "recalled": MEASURED.recalled}
    policy = policy_from_json({**stored, "patterns": "safe-harbor-2", "version": "1"})
    told = risk([Span(0, 3, "a@b", "email")], policy)
    assert told["expected_missed"] == pytest.approx(1 / 499, abs=1e-4)
    assert told["reasons"] == ["how often types are there at all was not counted"]
    assert SpanPolicy(support={"x": 1}, patterns="p").version == "5d6de2f0aafe"  # as it was


def test_a_note_with_identifiers_in_odd_forms_is_no_low_risk():
    text = "Pt John Smith, aged 95, seen 14-Mar-2024 and 3/21, MR# 445566, call 4155550134."
    policy = SpanPolicy(
        support={"name": 20, "date": 400}, recalled={"name": 1, "date": 200}, characters=20_000
    )
    told = TASK.respond(Spans({"text": text}, united(TASK, text, ()), policy))
    assert told["deidentified_text"] == (
        "Pt John Smith, aged [DATE], seen [DATE] and [DATE], MR# [MEDICAL_RECORD], call [PHONE]."
    )
    assert told["residual_risk"]["level"] == "review"
    assert told["residual_risk"]["expected_missed"] > 3


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


def test_patterns_alone_cover_the_forms_of_a_public_set_without_a_false_hit(data_home):
    """The shares that the docs state; the phones' forms were looked up in this set."""
    table = read_presidio(f"{data_home}/healthcare/phi-presidio-synth")
    num_true, num_covered, num_false = Counter(), Counter(), 0
    for text, label in zip(
        table["text"].to_pylist(), table["identifiers"].to_pylist(), strict=True
    ):
        true, found = json.loads(label), find(text)
        covered = {place for span in found for place in range(span.start, span.end)}
        for span in true:
            num_true[span["label"]] += 1
            num_covered[span["label"]] += covered >= set(range(span["start"], span["end"]))
        places = {place for span in true for place in range(span["start"], span["end"])}
        num_false += sum(places.isdisjoint(range(s.start, s.end)) for s in found)
    assert num_false == 0
    assert (num_covered["phone"], num_true["phone"]) == (90, 92)
    assert (num_covered["date"], num_true["date"]) == (48, 66)  # the others are days of the week
    for name in ("account", "ssn", "license", "url", "email", "ip_address"):
        assert num_covered[name] == num_true[name] > 0


def test_a_spans_policy_travels_as_json_and_its_counts_are_those_of_counted_spans():
    policy = SpanPolicy(support={"name": 10}, recalled={"name": 9}, patterns="p")
    assert policy_from_json(json.loads(json.dumps(policy.to_json()))) == policy
    assert policy.figures() == {"name_recall": 0.9}
    assert "name 9 of 10" in policy.described()["spans recalled in rows that trained nothing"]
    with pytest.raises(InputError, match="'name' has 11 of 10"):
        SpanPolicy(support={"name": 10}, recalled={"name": 11})
