import dataclasses

import numpy as np
import pytest

from spt_core.artifacts import as_uri, load_artifact
from spt_core.errors import InputError
from spt_core.fitting.config import TrainingConfig
from spt_core.heads import HEADS
from spt_core.model import SpecializedModel
from spt_core.task import IndustryType, find
from spt_core.transfer import DomainTransferTrainer, TransferConfig, guard
from spt_core.transfer.guard import WITHOUT_NETWORK, Verdict, judged
from spt_core.transfer.plan import TransferPlan, teacher_of
from tests.table_transfers import table_splits, table_teacher
from tests.tiny_models import tiny_table_artifact

FRAUD = find("financial_services/fraud_detection")
FINANCE, INSURANCE = IndustryType.FINANCIAL_SERVICES, IndustryType.INSURANCE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("transfers")


@pytest.fixture(scope="module")
def fraud(folder):
    splits = table_splits(FRAUD, folder)
    return splits, table_teacher(splits, folder)


def between(model, data, source=FINANCE, target=INSURANCE, **parameters):
    return DomainTransferTrainer(**parameters).transfer_between_domains(
        source_model=model, source_domain=source, target_domain=target, target_data=data
    )


def test_the_source_domain_must_be_that_of_the_source_model(fraud):
    with pytest.raises(InputError, match="source_domain must be that of the source model"):
        between(SpecializedModel(fraud[1]), [], source=IndustryType.HEALTHCARE)


@pytest.mark.parametrize("domain", ["source", "target"])
def test_a_domain_that_does_not_exist_is_refused(fraud, domain):
    rule = f"{domain}_domain must be one that exists, however: 'insurace'; the nearest is 'insura"
    with pytest.raises(InputError, match=rule):
        between(SpecializedModel(fraud[1]), [], **{domain: "insurace"})


def test_a_domain_without_a_task_that_starts_from_the_source_s_is_refused(fraud):
    with pytest.raises(InputError, match="one task of healthcare must start from .*none does"):
        between(SpecializedModel(fraud[1]), [], target=IndustryType.HEALTHCARE)


def test_splits_of_another_domain_are_refused(fraud):
    splits, teacher = fraud
    with pytest.raises(InputError, match="target_domain must be that of the target's task"):
        between(SpecializedModel(teacher), splits)


def test_splits_and_the_trainer_must_name_one_task(fraud):
    splits, teacher = fraud
    trainer = DomainTransferTrainer(task="insurance/claims_fraud")
    with pytest.raises(InputError, match="the splits must be of the trainer's task"):
        trainer.transfer_with_strategy(SpecializedModel(teacher), splits, {})


@pytest.mark.parametrize(
    ("changes", "transfer", "rule"),
    [
        ({"family": "text"}, {}, "source and target must be of one family"),
        ({"specialized_layers": ["output"]}, {}, "specialized_layers must be None"),
        ({"strategy": "zero1"}, {"strategy": "progressive_unfreezing"}, "data_parallel"),
        ({"strategy": "zero3"}, {"strategy": "l2_sp"}, "whole weights on each worker"),
    ],
)
def test_a_plan_that_no_worker_could_obey_is_refused(fraud, changes, transfer, rule):
    splits, teacher = fraud
    config = TrainingConfig()
    for name, value in changes.items():  # DeepSpeed may not be there to be asked
        object.__setattr__(config, name, value)
    with pytest.raises(InputError, match=rule):
        TransferPlan(teacher, splits, config, TransferConfig(**transfer))


def test_a_target_begins_with_the_teacher_behind_what_is_served(fraud, folder):
    _, teacher = fraud
    student = dataclasses.replace(
        tiny_table_artifact(FRAUD, as_uri(folder)), parents=(teacher.uri,)
    )
    assert teacher_of(student) == load_artifact(teacher.uri)


def test_a_model_without_a_teacher_behind_it_is_refused(folder):
    alone = tiny_table_artifact(FRAUD, as_uri(folder), name="alone")
    with pytest.raises(InputError, match="must start from a teacher"):
        teacher_of(alone)


def test_a_verdict_is_one_sentence_with_its_figures():
    verdict = Verdict(
        kept="scratch",
        loss="log_loss",
        metric="average_precision",
        gain=-0.0123,
        low=-0.02,
        high=-0.004,
        margin=0.005,
        num_rows=1200,
        transferred={"log_loss": 0.4123, "average_precision": 0.5},
        scratch={"log_loss": 0.4, "average_precision": 0.52},
    )
    assert verdict.sentence() == (
        "the model from scratch is kept: log loss on 1,200 validation rows 0.4123 transferred, "
        "0.4000 from scratch; gain -0.0123 [-0.0200, -0.0040], kept from -0.005 on"
    )


@pytest.mark.parametrize(("share", "why"), [(0.0, WITHOUT_NETWORK), (0.3, "")])
def test_models_that_answer_alike_say_why(fraud, monkeypatch, share, why):
    splits, teacher = fraud
    metrics = {"network_weight": share}
    model = SpecializedModel(dataclasses.replace(teacher, metrics=metrics))
    labels = (np.arange(40) % 2.0)[:, None]
    of = HEADS["binary"].fitted(FRAUD, (), labels, np.full((40, 1), 0.5))
    monkeypatch.setattr(guard, "outcomes_of", lambda *_: of)
    verdict = judged(model, model, splits, 0.0)
    assert (verdict.kept, verdict.why_alike) == ("scratch", why)
    assert verdict.sentence().endswith(f"both answer alike{why}")


def test_labels_that_were_saved_are_told_only_where_that_was_measured():
    figures = {"log_loss": 0.4}
    verdict = Verdict(
        kept="transferred",
        loss="log_loss",
        metric="log_loss",
        gain=0.1,
        low=0.0,
        high=0.2,
        margin=0.0,
        num_rows=100,
        transferred=figures,
        scratch=figures,
        num_train_rows=800,
    )
    assert verdict.saved().startswith("labels saved: not measured")
    assert dataclasses.replace(verdict, kept="scratch").saved().startswith("labels saved: none")
    told = dataclasses.replace(verdict, rows_needed=200).saved()
    assert told.startswith(
        "labels saved: 600; begun with the source, 200 training rows are as good"
    )
