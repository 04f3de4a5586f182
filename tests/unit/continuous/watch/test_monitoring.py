"""The monitoring configuration: the specification's dictionary, and the TOML file's section."""

import tomllib

import pytest

from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.sources import from_monitoring_config, source_from_mapping, sources_from
from spt_core.errors import InputError
from spt_core.task import IndustryType

SPEC = {
    "financial_services": {
        "sources": [
            {"name": "SEC", "url": "https://www.sec.gov/news/pressreleases.rss"},
            {"name": "FINRA", "url": "https://www.finra.org/rules-guidance"},
            {"name": "Basel", "url": "https://www.bis.org/list/bcbs/index.htm"},
        ],
        "keywords": ["regulation", "compliance", "capital", "risk"],
        "trigger_threshold": 10,
        "validation_required": True,
    }
}
SOURCE = """
[[source]]
id = "a"
name = "A"
industry = "financial_services"
kind = "rss"
url = "https://a.example/feed"
"""
FINANCE = "\n[monitoring.financial_services]\n"


def read(text):
    return sources_from(tomllib.loads(text), "watch.toml")


def test_the_specifications_configuration_is_accepted_as_it_is():
    file = from_monitoring_config(SPEC)
    assert [(s.id, s.kind) for s in file.sources] == [
        ("sec", "rss"),
        ("finra", "html_list"),
        ("basel", "html_list"),
    ]
    (rules,) = file.watched
    assert rules.model == "financial_services/regulatory_compliance/default"
    assert rules.keywords == ("regulation", "compliance", "capital", "risk")
    assert (rules.trigger_threshold, rules.risk_tier) == (10, "high")


def test_the_specifications_source_is_accepted_as_it_is():
    source = source_from_mapping(
        {
            "name": "SEC_Updates",
            "url": "https://www.sec.gov/news/pressreleases.rss",
            "type": "rss",
            "industry": IndustryType.FINANCIAL_SERVICES,
        }
    )
    assert (source.id, source.kind) == ("sec_updates", "rss")


def test_the_toml_section_says_everything_that_can_be_said():
    (rules,) = read(
        SOURCE
        + '\n[monitoring."financial_services/regulatory_compliance/rules"]\n'
        + 'keywords = ["risk"]\nterms = ["Basel III"]\ntrigger_threshold = 3\nmax_wait_days = 7\n'
        + "max_source_share = 0.25\nvalidation_required = false\nmin_score = 2\n"
    ).watched
    assert rules.bucket == "financial_services.regulatory_compliance.rules"
    assert (rules.max_wait_days, rules.max_source_share, rules.risk_tier) == (7, 0.25, "standard")
    assert (
        Monitoring(**{**rules.to_json(), "keywords": ("risk",), "terms": ("Basel III",)}) == rules
    )


def test_without_a_section_the_industrys_own_keywords_count():
    assert "capital" in read(SOURCE).watched[0].keywords
    assert "capital" in read(SOURCE + FINANCE + "trigger_threshold = 3\n").watched[0].keywords


def test_an_industry_without_a_task_on_text_is_watched_for_nothing():
    assert read(SOURCE.replace("financial_services", "manufacturing")).watched == ()
    assert read(SOURCE + '\n[monitoring.technology]\nkeywords = ["cve"]\n').watched[0].model == (
        "financial_services/regulatory_compliance/default"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[monitoring.banking]\n", "industry must be one that exists, however: 'banking'"),
        ("[monitoring.manufacturing]\n", "manufacturing has none"),
        ('[monitoring."financial_services/frauds"]\n', "a task is named INDUSTRY/TASK"),
        (
            '[monitoring."financial_services/fraud_detection"]\n',
            "publications can retrain models that label a whole text",
        ),
        (FINANCE + "threshold = 3\n", "there is no key 'threshold', however: the nearest is"),
        (FINANCE + "model = 'a/b/c'\n", "there is no key 'model'"),
        (FINANCE + "trigger_threshold = 0\n", "trigger_threshold must be at least 1"),
        (FINANCE + "trigger_threshold = 1.5\n", "trigger_threshold must be a whole number"),
        (FINANCE + "max_source_share = 1.5\n", r"max_source_share must be in \(0, 1\]"),
        (FINANCE + "max_wait_days = 0\n", "max_wait_days must be above 0"),
        (FINANCE + "min_score = nan\n", "min_score must be above 0"),
        (FINANCE + 'keywords = "risk"\n', "keywords must be a list, however: 'risk'"),
        (FINANCE + 'keywords = [""]\n', "must be texts that are not empty"),
        (FINANCE + "keywords = []\n", "by keywords, terms or a classifier, however: there are no"),
        (FINANCE + 'validation_required = "yes"\n', "validation_required must be true or false"),
        (
            FINANCE + '[monitoring."financial_services/regulatory_compliance"]\n',
            "must be monitored by one section",
        ),
        ("monitoring = 3\n", "monitoring must be a table"),
    ],
)
def test_a_wrong_section_is_one_sentence_that_names_it(text, sentence):
    with pytest.raises(InputError, match=sentence) as raised:
        read(text if text.startswith("monitoring") else SOURCE + text)
    assert "watch.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"banking": {}}, "'banking'"),
        ({"financial_services": {"sources": [{"name": "A"}]}}, "url must be given"),
        ({"financial_services": {"sources": [{"url": "https://a.example/"}]}}, "must be given"),
        ({"financial_services": {"threshold": 3}}, "there is no key 'threshold'"),
    ],
)
def test_a_wrong_dictionary_is_one_sentence(config, sentence):
    with pytest.raises(InputError, match=sentence):
        from_monitoring_config(config)
