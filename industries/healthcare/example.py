"""The complete example of hospitals and pharmacies: python -m jobs.example healthcare

Clinical cases, images, drug interactions and notes are learnt from; triage at a distance starts
from clinical support. Everything here supports a clinician and decides nothing.
"""

from __future__ import annotations

from typing import Any, final

from spt_core.examples import ExampleConfig, ExampleRun, Tell
from spt_core.optimization import OptimizationType
from spt_core.task import IndustryType

HOSPITAL = IndustryType.HEALTHCARE
CLINICAL = "healthcare/clinical_decision_support"
IMAGING = "healthcare/medical_imaging"
INTERACTIONS = "healthcare/drug_interaction_detection"
HIPAA = "healthcare/hipaa_compliance"
HEART = "healthcare/heart_disease"
TRIAGE = "healthcare/telemedicine_triage"
CASE = {
    "patient": {
        "age": 65,
        "gender": "male",
        "symptoms": ["chest_pain", "shortness_of_breath"],
        "vitals": {"bp": "150/95", "hr": 95},
        "history": ["hypertension", "diabetes"],
    }
}
MONITORING = {
    "healthcare": {
        "sources": [
            {
                "name": "FDA MedWatch",
                "url": "https://www.fda.gov/about-fda/contact-fda/stay-informed/rss-feeds/medwatch/rss.xml",
            },
            {"name": "EMA news", "url": "https://www.ema.europa.eu/en/news.xml"},
        ]
    }
}


@final
class HealthcareTrainingExample:
    """All that a hospital does with its models, once through."""

    def __init__(self, config: ExampleConfig | None = None, *, tell: Tell | None = None) -> None:
        self._run = ExampleRun(HOSPITAL, config, tell)

    def run_complete_training_pipeline(self) -> dict[str, Any]:
        """The story; the steps with their seconds, the versions, the benchmarks' results."""
        run = self._run
        with run.step("Clinical decision support: what may this case be, and how urgent is it?"):
            clinical = run.trained(CLINICAL)
            run.told(clinical, CASE if clinical.splits.synthetic else None)
        with run.step("Medical imaging: what is on this film, and where?"):
            run.told(run.trained(IMAGING))
        with run.step("Drug interactions: which drugs of this text do not go together?"):
            run.told(run.trained(INTERACTIONS))
        with run.step("HIPAA: what in this note names a person?"):
            run.told(run.trained(HIPAA))
        with run.step("Transfer: triage at a distance starts from clinical support"):
            run.told(run.transferred(clinical, TRIAGE))
        with run.step("Continuous training: drug safety is watched"):
            run.watching(MONITORING)
        with run.step("Benchmarks: accuracy, reasons, compliance, groups of patients"):
            run.benchmarked(clinical)
        with run.step("Safety first: served only if every check passes, for every group"):
            heart = run.trained(HEART)
            run.optimized(heart, OptimizationType.COMPLIANCE_OPTIMIZATION, "roc_auc")
        return run.outcome()
