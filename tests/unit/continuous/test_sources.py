import tomllib

import pytest

from spt_core.continuous.sources import (
    SourcesFile,
    default_sources,
    from_monitoring_config,
    load_sources,
    sources_from,
)
from spt_core.errors import InputError
from spt_core.task import IndustryType

ONE = """
[[source]]
id = "a"
name = "A"
industry = "technology"
kind = "rss"
url = "https://a.example/feed"
"""


def read(text):
    return sources_from(tomllib.loads(text), "watch.toml")


def test_the_shipped_sources_cover_the_named_authorities():
    sources = default_sources()
    told = " ".join(source.id for source in sources)
    authorities = "sec finra bis ecb federal_register fda ema hhs osha nist nvd cisa eiopa naic"
    for authority in authorities.split():
        assert authority in told
    assert {source.industry for source in sources} == set(IndustryType)
    assert SourcesFile(sources=sources).sources == load_sources().sources


def test_a_file_names_its_own_sources_and_some_that_are_shipped():
    file = read(
        '[fetch]\nuser_agent = "Bank desk@bank.example"\n'
        '[sources]\ndefaults = ["finra_rules"]\n' + ONE + "interval_s = 600\n"
    )
    assert file.user_agent == "Bank desk@bank.example"
    assert [source.id for source in file.sources] == ["finra_rules", "a"]
    assert file.sources[1].interval_s == 600.0


def test_tables_inside_a_source_become_its_selector_or_layout():
    page = ONE.replace('"rss"', '"html_list"') + 'links = { css = "main a", min_links = 3 }\n'
    assert read(page).sources[0].links.min_links == 3
    api = ONE.replace('"rss"', '"json_api"') + (
        'json = { items = "r", id = "n", title = "t", text = ["x"], '
        'window = { start_param = "from" } }\n'
    )
    layout = read(api).sources[0].json
    assert (layout.text, layout.window.start_param) == (("x",), "from")


def test_the_specification_s_configuration_is_taken_as_it_is_written():
    config = {
        "financial_services": {
            "sources": [
                {"name": "SEC", "url": "https://www.sec.gov/news/pressreleases.rss"},
                {"name": "FINRA", "url": "https://www.finra.org/rules-guidance"},
                {"name": "Basel", "url": "https://www.bis.org/list/bcbs/index.htm"},
                {"name": "Ours", "url": "https://a.example/list", "type": "html"},
            ],
            "keywords": ["regulation", "compliance", "capital", "risk"],
            "trigger_threshold": 10,
            "validation_required": True,
        }
    }
    file = from_monitoring_config(config)
    assert [source.kind for source in file.sources] == [
        "rss",
        "html_list",
        "html_list",
        "html_list",
    ]
    assert {source.industry for source in file.sources} == {IndustryType.FINANCIAL_SERVICES}
    assert [source.id for source in file.sources] == ["sec", "finra", "basel", "ours"]
    (monitoring,) = file.monitoring
    assert monitoring.trigger_threshold == 10


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (ONE + ONE, "two sources have the id 'a'"),
        (ONE.replace("technology", "banking"), r"1 \('a'\): industry must be one of 'financial"),
        (ONE.replace('url = "https', 'url = "file'), "must start with http"),
        (ONE.replace("a.example", "user:pw@a.example"), "user name or password"),
        (ONE.replace("a.example", "127.0.1"), "a number in disguise"),
        (ONE + 'colour = "red"\n', r"source 1 \('a'\): there is no key 'colour'"),
        (ONE.replace("kind", "type"), "there is no key 'type'"),
        (ONE.replace('"rss"', '"atom"'), "kind must be one of 'rss', 'html_list' or 'json_api'"),
        (ONE.replace('id = "a"', 'id = "A b"'), "id must be lower-case"),
        (ONE.replace('name = "A"\n', ""), "name must be given, however: it is missing"),
        (ONE + 'interval_s = "often"\n', "interval_s must be a number"),
        (ONE + "interval_s = true\n", "interval_s must be a number"),
        (ONE + "name2 = 1\n", "there is no key 'name2'"),
        (ONE.replace('"A"', "7"), "name must be a text, however: 7"),
        (ONE + 'links = "a"\n', "links must be a table"),
        (ONE + 'links = { min_links = 1.5 }\n', "min_links must be a whole number"),
        (ONE + 'links = { clss = "a" }\n', "there is no key 'clss'"),
        (ONE + "links = { }\n", "links must be given for kind html_list"),
        ('[[sources]]\nid = "a"\n', "sources must be a table"),
        ('[source]\nid = "a"\n', r"source must be written \[\[source\]\]"),
        ('allow_networks = ["10.0.0.0/8"]\n', "there is no key 'allow_networks'"),
        (ONE + 'allow_networks = ["10.0.0.0/8"]\n', "there is no key 'allow_networks'"),
        ('[fetch]\nallow_networks = ["10.0.0.0/8"]\n', "there is no key 'allow_networks'"),
        ('[sources]\ndefaults = ["sec"]\n', "sources.defaults must name sources that are shipped"),
        ("[sources]\ndefaults = 3\n", "sources.defaults must be true, false or a list"),
        ("[fetch]\nuser_agent = 3\n", "fetch.user_agent must be a text"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_sentence_that_names_the_key(text, sentence):
    with pytest.raises(InputError, match=sentence) as raised:
        read(text)
    assert "watch.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_missing_or_no_toml_is_a_mistake(tmp_path):
    with pytest.raises(InputError, match="--sources must name a TOML file"):
        load_sources(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("[[source\n")
    with pytest.raises(InputError, match="--sources must name a TOML file"):
        load_sources(str(tmp_path / "bad.toml"))
