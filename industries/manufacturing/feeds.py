"""Where authorities on workplaces and standards publish."""

from spt_core.continuous.feeds.json_api import federal_register
from spt_core.continuous.feeds.source import Source
from spt_core.task import IndustryType

_FACTORIES = IndustryType.MANUFACTURING

KEYWORDS: tuple[str, ...] = ("safety", "standard", "hazard", "inspection", "violation")

FEEDS: tuple[Source, ...] = (
    Source(
        id="osha_news",
        name="OSHA news releases",
        industry=_FACTORIES,
        kind="rss",
        url="https://www.osha.gov/news/newsreleases.xml",
    ),
    Source(
        id="nist_news",
        name="NIST news",
        industry=_FACTORIES,
        kind="rss",
        url="https://www.nist.gov/news-events/news/rss.xml",
    ),
    federal_register(
        "federal_register_osha",
        name="Federal Register: OSHA documents",
        industry=_FACTORIES,
        agency="occupational-safety-and-health-administration",
    ),
)
