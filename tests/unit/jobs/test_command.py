import argparse

import pytest

from jobs.command import parser, read_run
from jobs.recipes import RECIPES
from spt_core.errors import InputError

FRAUD = "financial_services/fraud_detection"
FLAGS = [
    "task",
    "--data",
    "--dataset",
    "--label",
    "--time",
    "--group",
    "--entity",
    "--name",
    "--recipe",
    "--storage",
    "--fresh",
    "--json",
    "--set",
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ("RAY_ADDRESS", "SPT_STORAGE", "SPT_DATABASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda *words: read_run(parser("train", "").parse_args([FRAUD, *words]))


def test_the_shared_flags_are_frozen():
    actions = [a for a in parser("train", "")._actions if not isinstance(a, argparse._HelpAction)]
    assert [(action.option_strings or [action.dest])[0] for action in actions] == FLAGS


def test_without_data_the_sample_recipe_is_used(run):
    assert run().config.training == run("--recipe", "sample").config.training
    assert run("--data", "x.parquet").config.training.num_epochs == 20


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_is_a_whole_configuration(run, recipe):
    config = run("--recipe", recipe).config
    assert config.training.task == FRAUD


def test_the_name_and_the_storage_reach_both_trainings(run, tmp_path):
    config = run("--name", "cards", "--storage", str(tmp_path / "s")).config
    for training in (config.training, config.distillation.training):
        assert training.model_name == "cards"
        assert training.output_dir == f"{(tmp_path / 's').as_uri()}/models"


def test_an_assignment_reaches_its_field(run):
    assert run("--set", "training.num_epochs=3").config.training.num_epochs == 3


def test_a_data_set_of_the_catalog_takes_no_columns(run):
    with pytest.raises(InputError, match="label"):
        run("--dataset", "german_credit", "--label", "default")


@pytest.mark.parametrize(
    "words",
    [
        ("--label", "x"),
        ("--entity", "card"),
        ("--set", "data.drop=amount"),
        ("--dataset", "fraud-handbook-sim", "--set", "data.protected=age"),
    ],
)
def test_columns_are_described_for_a_table_of_one_s_own_alone(run, words):
    with pytest.raises(InputError, match=r"for --data alone, however: .* is given"):
        run(*words)
    assert run("--data", "x.csv", *words[-2:]).arguments.data == "x.csv"


def test_a_data_set_is_for_its_own_task(run):
    with pytest.raises(InputError, match="credit-german is for financial_services/risk_assessment"):
        run("--dataset", "credit-german")


def test_data_and_dataset_exclude_each_other(run, capsys):
    with pytest.raises(SystemExit) as left:
        run("--data", "x", "--dataset", "y")
    assert left.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_on_a_cluster_a_local_folder_is_refused(run, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(InputError, match="SPT_STORAGE"):
        run()


def test_the_sample_corpus_is_synthetic_and_says_so(run):
    corpus = run("--recipe", "smoke").corpus()
    assert corpus.synthetic
    assert "SYNTHETIC" in corpus.name
