"""Where supervisors of insurers publish."""

from spt_core.continuous.feeds.json_api import federal_register
from spt_core.continuous.feeds.source import LinkList, Source
from spt_core.task import IndustryType

_INSURANCE = IndustryType.INSURANCE

KEYWORDS: tuple[str, ...] = (
    "insurance",
    "insurer",
    "policyholder",
    "claims",
    "solvency",
    "unfair",
    "discrimination",
)

FEEDS: tuple[Source, ...] = (
    Source(
        id="eiopa_news",
        name="EIOPA news",
        industry=_INSURANCE,
        kind="html_list",
        url="https://www.eiopa.europa.eu/media/news_en",
        links=LinkList(url_pattern=r"eiopa\.europa\.eu/.+_en$", min_links=5),
    ),
    Source(
        id="naic_newsroom",
        name="NAIC newsroom",
        industry=_INSURANCE,
        kind="html_list",
        url="https://content.naic.org/newsroom",
        links=LinkList(url_pattern=r"content\.naic\.org/(article|newsroom)", min_links=3),
    ),
    federal_register(
        "federal_register_federal_insurance_office",
        name="Federal Register: documents on insurance of the Treasury",
        industry=_INSURANCE,
        agency="treasury-department",
        term="insurance",
    ),
)
