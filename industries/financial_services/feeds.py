"""Where financial regulators publish."""

from spt_core.continuous.feeds.json_api import federal_register
from spt_core.continuous.feeds.source import LinkList, Source
from spt_core.task import IndustryType

_FINANCE = IndustryType.FINANCIAL_SERVICES

KEYWORDS: tuple[str, ...] = ("regulation", "compliance", "capital", "risk")

FEEDS: tuple[Source, ...] = (
    Source(
        id="sec_press_releases",
        name="SEC press releases",
        industry=_FINANCE,
        kind="rss",
        url="https://www.sec.gov/news/pressreleases.rss",
    ),
    Source(
        id="sec_edgar_filings",
        name="SEC EDGAR latest filings",
        industry=_FINANCE,
        kind="rss",
        url="https://www.sec.gov/cgi-bin/browse-edgar?action=getcurrent&count=100&output=atom",
        identity="guid+link",  # one filing is listed once per party, always under one id
    ),
    Source(
        id="finra_rules",
        name="FINRA rules and guidance",
        industry=_FINANCE,
        kind="html_list",
        url="https://www.finra.org/rules-guidance",
        links=LinkList(url_pattern=r"finra\.org/rules-guidance/", min_links=5),
    ),
    Source(
        id="bis_bcbs_publications",
        name="Basel Committee publications",
        industry=_FINANCE,
        kind="html_list",
        url="https://www.bis.org/list/bcbs/index.htm",
        links=LinkList(url_pattern=r"bis\.org/(bcbs/publ|press)/", min_links=3),
    ),
    Source(
        id="ecb_press",
        name="ECB press releases, speeches and interviews",
        industry=_FINANCE,
        kind="rss",
        url="https://www.ecb.europa.eu/rss/press.html",
    ),
    federal_register(
        "federal_register_sec",
        name="Federal Register: SEC documents",
        industry=_FINANCE,
        agency="securities-and-exchange-commission",
    ),
)
