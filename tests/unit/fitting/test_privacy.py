"""What may be asked of privacy, and which trainings can have it."""

from __future__ import annotations

import importlib.util

import pytest

from spt_core.distillation import DistillationConfig
from spt_core.errors import InputError, MissingPackageError
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.privacy import PrivacyConfig


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"epsilon": 0.0}, "must be above 0 and finite"),
        ({"epsilon": 1.0, "max_grad_norm": 0.0}, "must be above 0 and finite"),
        ({"epsilon": 1.0, "delta": 1.0}, r"privacy.delta must be in \(0, 1\)"),
        ({"epsilon": 1.0, "encoding_share": 1.0}, "encoding_share must be in"),
        ({"epsilon": 1.0, "ranges": ("age:9",)}, "must read FIELD:LEAST:GREATEST"),
        ({"epsilon": 1.0, "ranges": ("age:9:3",)}, "'age:9:3' does not"),
        ({"delta": 1e-6}, "epsilon must be set where privacy.delta is"),
    ],
)
def test_what_is_no_budget_is_refused(values, sentence):
    with pytest.raises(InputError, match=sentence):
        PrivacyConfig(**values)


def test_delta_is_a_tenth_of_a_row_s_share_and_never_a_row_s():
    assert PrivacyConfig(epsilon=1.0).delta_of(1000) == pytest.approx(1e-4)
    assert PrivacyConfig(epsilon=1.0, delta=1e-6).delta_of(1000) == 1e-6
    with pytest.raises(InputError, match="or a model may give a row away, however: it is 0.001"):
        PrivacyConfig(epsilon=1.0, delta=1e-3).delta_of(1000)


@pytest.mark.parametrize(("epsilon", "is_cautioned"), [(3, False), (10, False), (1e6, True)])
def test_a_budget_that_protects_nobody_is_said_to(epsilon, is_cautioned):
    caution = PrivacyConfig(epsilon=epsilon).caution
    assert ("epsilon 1e+06 promises little or nothing: above 10" in caution) is is_cautioned
    assert bool(caution) is is_cautioned
    assert PrivacyConfig().caution == ""


def test_a_range_may_be_of_a_nested_field():
    config = PrivacyConfig(epsilon=1.0, ranges=("loan.amount:0:1e6",))
    assert config.public_ranges() == {"loan.amount": (0.0, 1e6)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("family", "text"),
        ("num_workers", 2),
        ("early_stopping_patience", 3),
        ("class_weighting", "balanced"),
        ("gradient_accumulation_steps", 2),
        ("specialized_layers", ["upper"]),
        ("use_gpu", True),
        ("gradient_checkpointing", True),
    ],
)
def test_a_training_that_nobody_counts_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name} must be .* of a training with privacy"):
        TrainingConfig(privacy=PrivacyConfig(epsilon=1.0), **{name: value})


def test_a_student_has_its_teacher_s_budget():
    with pytest.raises(InputError, match="privacy must be its teacher's of a student"):
        DistillationConfig(training=TrainingConfig(privacy=PrivacyConfig(epsilon=1.0)))


def test_without_opacus_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install .* '\.\[privacy\]'"):
        PrivacyConfig(epsilon=1.0)
    PrivacyConfig()
