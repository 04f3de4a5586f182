"""Where vulnerabilities and advisories are published."""

import dataclasses

from spt_core.continuous.feeds.json_api import CISA_KEV, NVD
from spt_core.continuous.feeds.source import Source, TimeWindow
from spt_core.task import IndustryType

_TECHNOLOGY = IndustryType.TECHNOLOGY

KEYWORDS: tuple[str, ...] = (
    "vulnerability",
    "exploit",
    "malware",
    "ransomware",
    "attack",
    "privilege",
)

FEEDS: tuple[Source, ...] = (
    Source(
        id="nvd_cves",
        name="NVD vulnerabilities, by time of their last change",
        industry=_TECHNOLOGY,
        kind="json_api",
        url="https://services.nvd.nist.gov/rest/json/cves/2.0?resultsPerPage=2000",
        json=dataclasses.replace(
            NVD, window=TimeWindow(start_param="lastModStartDate", end_param="lastModEndDate")
        ),
    ),
    Source(
        id="cisa_known_exploited",
        name="CISA known exploited vulnerabilities",
        industry=_TECHNOLOGY,
        kind="json_api",
        url=("https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json"),
        json=CISA_KEV,
    ),
    Source(
        id="cisa_advisories",
        name="CISA cybersecurity advisories",
        industry=_TECHNOLOGY,
        kind="rss",
        url="https://www.cisa.gov/cybersecurity-advisories/all.xml",
    ),
)
