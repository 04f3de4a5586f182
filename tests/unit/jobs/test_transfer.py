import json

import pytest

from jobs.command import parser, read_run
from jobs.recipes import smoke
from jobs.transfer import main
from spt_core.errors import InputError, NotFoundError
from spt_core.task import find
from spt_core.transfer import TransferConfig

CLAIMS = "insurance/claims_fraud"


def called(folder, *words, task=CLAIMS):
    return main([task, "--recipe", "smoke", "--storage", str(folder), *words])


def test_without_its_source_a_transfer_says_how_to_train_it(tmp_path):
    with pytest.raises(NotFoundError, match="jobs.pipeline financial_services/fraud_detection"):
        called(tmp_path)


def test_a_source_that_is_named_takes_the_place_of_the_task_s(tmp_path):
    with pytest.raises(NotFoundError, match="jobs.pipeline financial_services/risk_assessment"):
        called(tmp_path, "--from", "financial_services/risk_assessment@3")


def test_a_task_that_names_no_source_asks_for_one(tmp_path):
    with pytest.raises(InputError, match="trading names none; give --from"):
        called(tmp_path, task="financial_services/trading")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("{", "--config must name a JSON file"),
        ("[]", "--config must hold one JSON object"),
        (json.dumps({"stratgy": "full"}), "the nearest is 'strategy'"),
        (json.dumps({"strategy": "freeze"}), "transfer_config"),
    ],
)
def test_a_file_that_says_no_transfer_is_refused(tmp_path, content, rule):
    file = tmp_path / "transfer.json"
    file.write_text(content)
    with pytest.raises(InputError, match=rule):
        called(tmp_path, "--config", str(file))


def test_a_transfer_is_configured_in_one_place(tmp_path):
    file = tmp_path / "transfer.json"
    file.write_text("{}")
    with pytest.raises(InputError, match="both are given"):
        called(tmp_path, "--config", str(file), "--set", "transfer.strategy=l2_sp")


def test_a_transfer_s_fields_are_set_like_any_other(tmp_path):
    words = [CLAIMS, "--storage", str(tmp_path), "--set", "transfer.strategy=head_only"]
    words += ["--set", "transfer.columns=claim_amount:amount,cover:none"]
    run = read_run(parser("transfer", "").parse_args(words))
    assert run.config.transfer == TransferConfig(
        strategy="head_only", columns=("claim_amount:amount", "cover:none")
    )
    assert run.config.transfer.matches == {"claim_amount": "amount", "cover": None}
    assert smoke(find(CLAIMS)).transfer == TransferConfig()
