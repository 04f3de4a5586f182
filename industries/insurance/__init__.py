"""Tasks of insurers. Adding one: a file, and one line here."""

from industries.insurance.claims_fraud import CLAIMS_FRAUD
from industries.insurance.feeds import FEEDS as FEEDS
from industries.insurance.feeds import KEYWORDS as KEYWORDS
from industries.insurance.policy_uptake import POLICY_UPTAKE
from spt_core.task import Task

TASKS: tuple[Task, ...] = (CLAIMS_FRAUD, POLICY_UPTAKE)
