"""Where health authorities publish."""

from spt_core.continuous.feeds.json_api import OPENFDA_ENFORCEMENT, federal_register
from spt_core.continuous.feeds.source import Source
from spt_core.task import IndustryType

_HEALTH = IndustryType.HEALTHCARE

KEYWORDS: tuple[str, ...] = (
    "safety",
    "recall",
    "adverse",
    "interaction",
    "contraindication",
    "drug",
    "warning",
)

FEEDS: tuple[Source, ...] = (
    Source(
        id="fda_press_releases",
        name="FDA press releases",
        industry=_HEALTH,
        kind="rss",
        url="https://www.fda.gov/about-fda/contact-fda/stay-informed/rss-feeds/press-releases/rss.xml",
    ),
    Source(
        id="fda_medwatch",
        name="FDA MedWatch safety alerts",
        industry=_HEALTH,
        kind="rss",
        url="https://www.fda.gov/about-fda/contact-fda/stay-informed/rss-feeds/medwatch/rss.xml",
    ),
    Source(
        id="openfda_drug_enforcement",
        name="openFDA drug recalls",
        industry=_HEALTH,
        kind="json_api",
        url="https://api.fda.gov/drug/enforcement.json?sort=report_date:desc&limit=100",
        json=OPENFDA_ENFORCEMENT,
    ),
    Source(
        id="ema_news",
        name="EMA news",
        industry=_HEALTH,
        kind="rss",
        url="https://www.ema.europa.eu/en/news.xml",
    ),
    federal_register(
        "federal_register_hhs",
        name="Federal Register: HHS documents",
        industry=_HEALTH,
        agency="health-and-human-services-department",
    ),
)
