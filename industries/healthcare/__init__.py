"""Tasks of hospitals, pharmacies and drug safety teams. Adding one: a file, and one line here."""

from industries.healthcare.clinical_decision_support import CLINICAL_DECISION_SUPPORT
from industries.healthcare.drug_interaction_detection import DRUG_INTERACTION_DETECTION
from industries.healthcare.feeds import FEEDS as FEEDS
from industries.healthcare.feeds import KEYWORDS as KEYWORDS
from industries.healthcare.heart_disease import HEART_DISEASE
from industries.healthcare.hipaa_compliance import HIPAA_COMPLIANCE
from industries.healthcare.medical_imaging import MEDICAL_IMAGING
from industries.healthcare.readmission import READMISSION
from industries.healthcare.telemedicine_triage import TELEMEDICINE_TRIAGE
from spt_core.task import Task

TASKS: tuple[Task, ...] = (
    CLINICAL_DECISION_SUPPORT,
    DRUG_INTERACTION_DETECTION,
    HEART_DISEASE,
    HIPAA_COMPLIANCE,
    MEDICAL_IMAGING,
    READMISSION,
    TELEMEDICINE_TRIAGE,
)
