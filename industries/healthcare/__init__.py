"""Tasks of hospitals, pharmacies and drug safety teams. Adding one: a file, and one line here."""

from industries.healthcare.drug_interaction_detection import DRUG_INTERACTION_DETECTION
from industries.healthcare.feeds import FEEDS as FEEDS
from industries.healthcare.feeds import KEYWORDS as KEYWORDS
from industries.healthcare.hipaa_compliance import HIPAA_COMPLIANCE
from industries.healthcare.medical_imaging import MEDICAL_IMAGING
from spt_core.task import Task

TASKS: tuple[Task, ...] = (DRUG_INTERACTION_DETECTION, HIPAA_COMPLIANCE, MEDICAL_IMAGING)
