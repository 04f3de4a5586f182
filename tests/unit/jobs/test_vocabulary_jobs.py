import pytest

from jobs import extend_vocabulary, pretrain
from spt_core.errors import InputError

FRAUD, DRUGS = "financial_services/fraud_detection", "healthcare/drug_interaction_detection"


@pytest.mark.parametrize(
    ("main", "arguments", "sentence"),
    [
        (extend_vocabulary.main, [FRAUD], "a vocabulary is of a task on text"),
        (pretrain.main, [FRAUD], "texts train a task on text"),
        (pretrain.main, [DRUGS], "there is no --data"),
        (extend_vocabulary.main, [DRUGS, "--set", "vocabulary.gate.max_score_drop=-1"], "margins"),
        (pretrain.main, [DRUGS, "--set", "vocabulary.training.num_steps=0"], "num_steps"),
    ],
)
def test_what_a_job_cannot_do_is_refused_before_anything_starts(
    main, arguments, sentence, tmp_path
):
    with pytest.raises(InputError, match=sentence):
        main([*arguments, "--storage", str(tmp_path)])
