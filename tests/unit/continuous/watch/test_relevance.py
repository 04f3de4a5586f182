"""Scores: which words are found, what each adds, and how that lands with the item."""

import dataclasses
import json
import time

import pytest

from spt_core.continuous.classifier import Judged, ModelClassifier, open_classifier
from spt_core.continuous.ledger import Item
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.phrases import Phrases, words
from spt_core.continuous.relevance import Relevance
from spt_core.errors import InputError
from spt_core.model import SpecializedModel
from spt_core.task import IndustryType

FINANCE = IndustryType.FINANCIAL_SERVICES
MODEL = "financial_services/regulatory_compliance/default"
RULES = Monitoring(
    model=MODEL, keywords=("capital", "risk"), terms=("credit_default_swap", "Basel III")
)


def item(title="", text="", categories=""):
    return Item(
        source_id="s",
        item_key="k",
        content_sha="c",
        title=title,
        text=text,
        categories=categories,
    )


def rated(*args, monitoring=RULES, classifiers=None, **values):
    return Relevance([monitoring], classifiers or {}).rated(item(*args, **values), FINANCE)


def told(found):
    return [
        (r["what"], r["name"], r["where"], r["adds"])
        for r in json.loads(found.explanation)["reasons"]
    ]


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("risk", "New RISKS ahead"),
        ("Basel III", "the basel-iii rules"),
        ("credit_default_swap", "Credit default swaps widened"),
        ("penalty", "Penalties rise"),
        ("Maßnahme", "MASSNAHME"),
        ("a b c", "x a a b c"),
    ],
)
def test_phrases_are_found_in_any_case_and_number(phrase, text):
    assert Phrases([phrase]).within(words(text)) == [phrase]


@pytest.mark.parametrize(
    ("phrase", "text"),
    [("risk", "brisk asterisk"), ("Basel III", "Basel II and III"), ("bus", "bu"), ("!", "!")],
)
def test_parts_of_words_and_torn_phrases_are_not_found(phrase, text):
    assert Phrases([phrase]).within(words(text)) == []


def test_a_score_is_the_sum_of_what_the_explanation_says():
    found = rated("Capital rules", "Risk, risk and risk. Basel III and credit default swaps.")
    assert told(found) == [
        ("keyword", "capital", "title", 2.0),
        ("keyword", "risk", "text", 1.0),
        ("term", "Basel III", "text", 0.5),
        ("term", "credit_default_swap", "text", 0.5),
    ]
    assert found.score == 4.0 == sum(reason[3] for reason in told(found))
    assert found.bucket == "financial_services.regulatory_compliance"


def test_what_does_not_reach_the_score_belongs_to_no_model_and_says_why():
    found = rated("Basel III", monitoring=dataclasses.replace(RULES, min_score=1.5))
    assert (found.bucket, found.score) == ("", 1.0)
    assert json.loads(found.explanation)["needed"] == 1.5
    assert rated("Weather").score == 0.0


def test_categories_count_as_text_and_the_end_of_a_long_text_does_not():
    assert rated(categories='["Capital"]').score == 1.0
    assert rated(text="x " * 20_000 + "capital").score == 0.0


def test_an_item_goes_to_the_model_whose_score_it_exceeds_most():
    other = Monitoring(
        model="financial_services/regulatory_compliance/swaps", terms=("swap",), min_score=0.1
    )
    both = Relevance([RULES, other], {})
    assert both.rated(item("capital swap"), FINANCE).bucket.endswith("swaps")
    assert both.rated(item("capital"), FINANCE).bucket == RULES.bucket


def test_an_industry_that_is_not_watched_gives_no_score():
    found = Relevance([RULES], {}).rated(item("capital"), IndustryType.HEALTHCARE)
    assert (found.bucket, found.explanation) == ("", "")


class Sure:
    """Finds every text as relevant as the next one."""

    def judge(self, text):
        return Judged(0.881, (("liquidity coverage", 3.0),))


def test_the_classifier_adds_its_weight_times_its_probability():
    found = rated("Liquidity coverage", classifiers={RULES.bucket: Sure()})
    ((what, name, where, adds),) = told(found)
    assert (what, name, where) == ("classifier", "p = 0.881", "'liquidity coverage' +3.00")
    assert found.score == adds == pytest.approx(1.762, abs=1e-4)
    assert found.bucket == RULES.bucket


@pytest.mark.parametrize("reference", ["relevance.json", "industry/task/name", "task@3"])
def test_a_classifier_is_a_registered_model(reference):
    with pytest.raises(InputError, match="a classifier must be a registered model .*, however: '"):
        open_classifier(reference, "ltd", database_url="")


def test_a_model_of_ours_that_gives_no_labels_to_texts_is_no_classifier(text_export):
    with pytest.raises(InputError, match="must be a text model that gives labels"):
        ModelClassifier(SpecializedModel(text_export), "effect")


class Fixed:
    def judge(self, text):
        return Judged(0.25, ())


def test_a_score_takes_well_below_a_millisecond():
    rules = dataclasses.replace(RULES, terms=tuple(f"term {n} of many" for n in range(5000)))
    relevance = Relevance([rules], {rules.bucket: Fixed()})
    long = item("Capital", "The authority amends the reporting rules of this class. " * 20)
    relevance.rated(long, FINANCE)
    start = time.process_time()
    for _ in range(100):
        relevance.rated(long, FINANCE)
    assert (time.process_time() - start) / 100 < 2e-3
