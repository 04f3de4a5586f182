"""Tasks of banks, lenders and payment companies. Adding one: a file, and one line here."""

from industries.financial_services.credit_scoring import CREDIT_SCORING
from industries.financial_services.feeds import FEEDS as FEEDS
from industries.financial_services.feeds import KEYWORDS as KEYWORDS
from industries.financial_services.fraud_detection import FRAUD_DETECTION
from industries.financial_services.market_risk import MARKET_RISK
from industries.financial_services.operational_risk import OPERATIONAL_RISK
from industries.financial_services.regulatory_compliance import REGULATORY_COMPLIANCE
from industries.financial_services.risk_assessment import RISK_ASSESSMENT
from industries.financial_services.trading import TRADING
from spt_core.task import Task

TASKS: tuple[Task, ...] = (
    CREDIT_SCORING,
    FRAUD_DETECTION,
    MARKET_RISK,
    OPERATIONAL_RISK,
    RISK_ASSESSMENT,
    REGULATORY_COMPLIANCE,
    TRADING,
)
# Of several tasks on texts, the one that the industry's publications retrain.
WATCHED = "regulatory_compliance"
