"""What an optimization refuses before anything runs."""

import dataclasses

import pytest

from spt_core.distillation import DistillationConfig, DistillationType
from spt_core.errors import InputError
from spt_core.families.text.config import TextCopying
from spt_core.fitting.config import TrainingConfig
from spt_core.optimization import (
    OptimizationConfig,
    OptimizationTechnique,
    OptimizationType,
    SearchConfig,
)
from spt_core.optimization.techniques import TECHNIQUES, techniques_of
from spt_core.task import IndustryType, find

FRAUD, TEXT = find("financial_services/fraud_detection"), find("technology/security_analysis")
IMAGE = find("manufacturing/visual_inspection")
T = OptimizationTechnique


def config_of(kind=OptimizationType.ACCURACY_OPTIMIZATION, **fields):
    return OptimizationConfig(
        industry=IndustryType.FINANCIAL_SERVICES, optimization_type=kind, **fields
    )


def test_the_specification_s_fields_come_first_and_in_its_order():
    names = [field.name for field in dataclasses.fields(OptimizationConfig)]
    assert names[:10] == [
        "industry",
        "optimization_type",
        "target_metrics",
        "techniques",
        "target_accuracy",
        "max_latency_ms",
        "max_memory_mb",
        "min_throughput_qps",
        "domain_adaptation_weight",
        "task_specific_layers",
    ]


def test_every_technique_is_there():
    assert set(TECHNIQUES) == set(T)


def test_all_that_the_family_has_are_applied_unless_some_are_named():
    of_texts = techniques_of(config_of(), TEXT)
    assert of_texts == list(T)
    lacking = {T.DOMAIN_ADAPTIVE_TRAINING, T.VOCABULARY_TRIMMING, T.QUANTIZATION}
    assert techniques_of(config_of(), FRAUD) == [t for t in T if t not in lacking]
    chosen = config_of(techniques=[T.CALIBRATION, T.DISTILLATION])
    assert techniques_of(chosen, FRAUD) == [T.DISTILLATION, T.CALIBRATION]


def test_images_have_every_technique_but_those_of_texts():
    of_texts = {T.DOMAIN_ADAPTIVE_TRAINING, T.VOCABULARY_TRIMMING}
    assert techniques_of(config_of(), IMAGE) == [t for t in T if t not in of_texts]
    for technique in of_texts:
        with pytest.raises(InputError, match=rf"image family .*, however: {technique} is asked"):
            techniques_of(config_of(techniques=[technique]), IMAGE)


def test_a_smaller_model_asks_for_no_other_fine_tuning():
    names = techniques_of(config_of(OptimizationType.MEMORY_OPTIMIZATION), TEXT)
    assert T.DOMAIN_ADAPTIVE_TRAINING not in names


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"domain_adaptation_weight": 2.0}, r"must be in \[0, 1\], however: 2.0"),
        ({"techniques": ["magic"]}, "OptimizationTechnique is one of .*, however: 'magic'"),
        ({"techniques": [T.CALIBRATION, T.CALIBRATION]}, "a technique is named once"),
        ({"kind": "speed"}, "OptimizationType is one of accuracy, .*, however: 'speed'"),
    ],
)
def test_what_cannot_be_asked_for(fields, sentence):
    with pytest.raises(InputError, match=sentence):
        config_of(**fields)


def test_a_technique_that_the_family_lacks_is_refused():
    with pytest.raises(InputError, match=r"tabular family \(distillation, .*quantization is asked"):
        techniques_of(config_of(techniques=[T.QUANTIZATION]), FRAUD)


@pytest.mark.parametrize(
    "fields", [{"num_trials": -1}, {"max_students": 0}, {"budget_minutes": 0}, {"sampler": "grid"}]
)
def test_searches_that_are_none(fields):
    with pytest.raises(InputError, match="however:"):
        SearchConfig(**fields)


def test_what_a_student_learns_beside_answers():
    text = TrainingConfig(family="text")
    kept = DistillationConfig(training=text, distillation_type=DistillationType.FEATURE)
    assert kept.copying == TextCopying()
    plain = DistillationConfig(training=text, distillation_type=DistillationType.RESPONSE)
    assert plain.copying.state_weight == 0
    DistillationConfig(distillation_type=DistillationType.RESPONSE)
    with pytest.raises(InputError, match="it is feature, of the tabular family"):
        DistillationConfig(distillation_type=DistillationType.FEATURE)
