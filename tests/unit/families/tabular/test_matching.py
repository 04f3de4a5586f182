import pytest

from spt_core.concepts import CONCEPTS, WORDS, concept_of
from spt_core.errors import InputError
from spt_core.families.tabular.matching import matched
from spt_core.signature import Field, Signature
from spt_core.task import find

RISK = find("financial_services/risk_assessment")
FRAUD = find("financial_services/fraud_detection")
CLAIMS = find("insurance/claims_fraud")


def signature(*fields):
    return Signature(fields=fields)


def number(name):
    return Field(name=name, kind="number")


def category(name, *values):
    return Field(name=name, kind="category", categories=values)


def pairs(source, target, given=None):
    matches = matched(source, RISK, target, CLAIMS, given or {})
    return {match.target: (match.source, match.reason) for match in matches}


@pytest.mark.parametrize(
    ("name", "concept"),
    [
        ("AMT_INCOME_TOTAL", "income"),
        ("Jahreseinkommen", "income"),
        ("Kreditbetrag", "amount"),
        ("Prämie", "payment"),
        ("versicherungsprämie_brutto", "payment"),
        ("VERMÖGEN", "wealth"),
        ("Geburtsdatum", None),
        ("days_past_due", "arrears"),
        ("due_date", "time_of_event"),
        ("applicant.monthly_salary", "income"),
        ("VehiclePrice", "amount"),
        ("LIMIT_BAL", "limit"),
        ("BILL_AMT1", "debt"),
        ("terminal.label_rate_7d_after_1d", None),
        ("V14", None),
        ("loan_term_months", "term"),
        ("loan_amnt", "amount"),
        ("annual_inc", "income"),
        ("number_of_cars", "frequency"),
        ("policy_number", None),
        ("customer_id", None),
        ("last_name", None),
        ("date_of_birth", None),
        ("state", "place"),
        ("addr_state", "place"),
        ("marital_state", None),
        ("state_of_health", None),
        ("machineState", None),
    ],
)
def test_a_name_tells_what_a_column_stands_for(name, concept):
    assert concept_of(name) == concept


def test_every_concept_but_what_only_tasks_tell_has_words():
    assert set(CONCEPTS) - set(WORDS) == {"usual_amount", "past_rate"}


def test_equal_names_of_one_kind_come_first():
    source = signature(number("claim"), number("amount"))
    found = pairs(source, signature(number("amount"), number("claim_amount")))
    assert found["amount"] == ("amount", "the same name")
    assert found["claim_amount"] == (None, "no counterpart")


def test_the_task_says_what_its_fields_stand_for_and_names_say_it_of_other_columns():
    source = signature(number("customer_profile.annual_income"), number("loan_details.amount"))
    found = pairs(source, signature(number("claim_amount"), number("holder_salary")))
    assert found == {
        "claim_amount": ("loan_details.amount", "amount, as the task says"),
        "holder_salary": ("customer_profile.annual_income", "income, by its name"),
    }


def test_a_category_is_no_counterpart_of_a_number():
    found = pairs(signature(category("income", "a", "b")), signature(number("salary")))
    assert found["salary"] == (None, "no counterpart")


def test_category_columns_of_equal_values_belong_together():
    source = signature(category("wohnen", "Rent", "own", "free"))
    found = pairs(source, signature(category("dwelling", "own", " rent", "other")))
    assert found["dwelling"] == ("wohnen", "the same values")


def test_each_column_of_the_source_is_used_once():
    found = pairs(signature(number("amount")), signature(number("sum"), number("price")))
    assert [source for source, _ in found.values()] == ["amount", None]


def test_what_somebody_gave_comes_before_all():
    source = signature(number("amount"), number("income"))
    target = signature(number("amount"), number("salary"))
    found = pairs(source, target, {"amount": "income", "salary": None})
    assert found == {"amount": ("income", "given"), "salary": (None, "given")}


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"amuont": "amount"}, "none of the target's; the nearest is 'amount'"),
        ({"amount": "incme"}, "none of the source's; the nearest is 'income'"),
        ({"amount": "income", "kind": "income"}, "'income' is used twice"),
        ({"kind": "income"}, "'kind' is a category, 'income' a number"),
    ],
)
def test_a_match_that_cannot_be_is_refused(given, rule):
    source = signature(number("amount"), number("income"))
    with pytest.raises(InputError, match=rule):
        pairs(source, signature(number("amount"), category("kind", "a")), given)


def test_claims_begin_with_what_transactions_taught_of_the_same_things():
    windows = (window.as_field() for window in FRAUD.windows)
    source = Signature(fields=(*FRAUD.fields, *windows))
    found = {
        m.target: m.source for m in matched(source, FRAUD, signature(*CLAIMS.fields), CLAIMS, {})
    }
    shared = {name: other for name, other in found.items() if other is not None}
    assert shared == {
        "accident_date": "time",
        "claim_amount": "amount",
        "past_claims": "account.count_1d",
        "sales_channel": "merchant",
        "area": "location",
        "vehicle_value": "account.amount_mean_7d",
    }
