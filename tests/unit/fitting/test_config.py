import dataclasses

import pytest

from spt_core.errors import InputError, MissingPackageError
from spt_core.fitting.config import TrainingConfig
from spt_core.task import IndustryType

SPECIFIED = {
    "model_name": "specialized-model",
    "industry": IndustryType.FINANCIAL_SERVICES,
    "num_epochs": 10,
    "batch_size": 32,
    "learning_rate": 2e-5,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "domain_vocabulary_size": 10000,
    "specialized_layers": None,
    "compliance_requirements": None,
    "use_mixed_precision": True,
    "gradient_checkpointing": False,
    "dataloader_num_workers": 4,
    "output_dir": "specialized_models",
    "save_strategy": "epoch",
    "evaluation_strategy": "steps",
    "eval_steps": 500,
    "logging_steps": 100,
}


def test_the_fields_and_defaults_of_the_specification_come_first_and_in_its_order():
    fields = dataclasses.fields(TrainingConfig)[: len(SPECIFIED)]
    assert {field.name: field.default for field in fields} == SPECIFIED
    assert [field.name for field in fields] == list(SPECIFIED)


def test_every_field_is_documented():
    documented = TrainingConfig.__doc__ or ""
    for field in dataclasses.fields(TrainingConfig):
        assert f"\n        {field.name}: " in documented


@pytest.mark.parametrize(
    "change",
    [
        {"num_epochs": 0},
        {"batch_size": 0},
        {"domain_vocabulary_size": 0},
        {"eval_steps": 0},
        {"logging_steps": 0},
        {"num_workers": 0},
        {"dataloader_num_workers": -1},
        {"max_failures": -1},
        {"cache_bytes": -1},
        {"weight_decay": -0.1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"warmup_ratio": 1.0},
        {"warmup_ratio": -0.1},
        {"model_name": ""},
        {"model_name": "../up"},
        {"model_name": "a@7"},
        {"save_strategy": "sometimes"},
        {"evaluation_strategy": "sometimes"},
        {"class_weighting": "heavy"},
        {"family": "tabuler"},
        {"strategy": "zero4"},
        {"optimizer_offload": True},
        {"optimizer_offload": True, "strategy": "zero1"},
    ],
)
def test_what_no_run_could_honour_is_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        TrainingConfig(**change)


def test_a_sharded_run_without_deepspeed_is_refused_on_the_driver(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install -c constraints.txt '.\[deepspeed"):
        TrainingConfig(strategy="zero2")


def test_an_industry_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="industry must be one that exists, however: 'agricultur"):
        TrainingConfig(industry="agriculture")  # pyright: ignore[reportArgumentType]


def test_where_and_how_a_run_is_watched_is_no_part_of_its_identity():
    watched = TrainingConfig(output_dir="elsewhere", trackers=("mlflow",), logging_steps=1)
    assert watched.identity() == TrainingConfig().identity()


def test_what_decides_the_result_is_part_of_the_identity():
    assert TrainingConfig(seed=1).identity() != TrainingConfig().identity()
