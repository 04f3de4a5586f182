"""Tasks of software and security teams. Adding one: a file, and one line here."""

from industries.technology.architecture_analysis import ARCHITECTURE_ANALYSIS
from industries.technology.code_analysis import CODE_ANALYSIS
from industries.technology.code_smells import CODE_SMELLS
from industries.technology.defect_prediction import DEFECT_PREDICTION
from industries.technology.feeds import FEEDS as FEEDS
from industries.technology.feeds import KEYWORDS as KEYWORDS
from industries.technology.performance_monitoring import PERFORMANCE_MONITORING
from industries.technology.security_analysis import SECURITY_ANALYSIS
from industries.technology.technical_debt import TECHNICAL_DEBT
from spt_core.task import Task

TASKS: tuple[Task, ...] = (
    ARCHITECTURE_ANALYSIS,
    CODE_ANALYSIS,
    CODE_SMELLS,
    DEFECT_PREDICTION,
    PERFORMANCE_MONITORING,
    SECURITY_ANALYSIS,
    TECHNICAL_DEBT,
)
# Of several tasks on texts, the one that the industry's publications retrain.
WATCHED = "security_analysis"
