"""Readers of patients, cases and code, on the files that SPT_DATA_HOME has."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from spt_core.artifacts import as_uri
from spt_core.data.catalog import DATASETS
from spt_core.data.catalog.clinical import words_of
from spt_core.data.catalog.software import without_names
from spt_core.task import find

HOME = Path(os.environ.get("SPT_DATA_HOME", "no folder"))


def table_of(name):
    """A data set as its reader makes it."""
    dataset = DATASETS[name]
    folder = HOME / find(dataset.task).industry / (dataset.folder or name)
    if not folder.is_dir():
        pytest.skip(f"SPT_DATA_HOME has no {name}")
    assert dataset.read is not None
    return dataset.read(as_uri(folder))


def test_a_description_is_the_words_that_say_something():
    assert words_of("I've had a severe headache, and my Neck is STIFF!") == [
        "headache",
        "neck",
        "severe",
        "stiff",
    ]


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("no fever, never chest pain", []),
        ("No fever but a cough.", ["cough"]),
        ("I don't have chills. Fever and cough", ["cough", "fever"]),
        ("denies dizziness; headache", ["headache"]),
        ("I haven\u2019t any rash, my throat hurts", ["hurts", "throat"]),
        ("I can't sleep at night", ["night", "sleep"]),
        ("cannot walk without pain", ["pain", "walk"]),
        ("no one of all my old dizzy spells", ["dizzy", "old", "spells"]),
        ("never a rash or itching on the left arm swollen", ["arm", "left", "swollen"]),
    ],
)
def test_words_that_a_description_negates_are_not_in_its_set(description, words):
    assert words_of(description) == words


def test_symptom2disease_has_sets_of_words_in_24_diagnoses():
    table = table_of("symptom2disease")
    assert table.num_rows == 897
    assert len(set(table["diagnosis"].to_pylist())) == 24
    sets = table["patient.symptoms"].to_pylist()
    assert all(cell == sorted(set(cell)) and cell for cell in sets)
    assert "itching" in {word for cell in sets for word in cell}


def test_heart_uci_has_words_for_codes_and_gaps_for_question_marks():
    table = table_of("heart-uci")
    assert table.num_rows == 303
    assert sum(table["has_disease"].to_pylist()) == 139
    assert Counter(table["chest_pain"].to_pylist())["asymptomatic"] == 144
    assert table["narrowed_vessels"].null_count == 4
    assert set(table["sex"].to_pylist()) == {"male", "female"}


def test_diabetes130_has_no_stay_from_which_nobody_comes_back():
    table = table_of("diabetes130")
    assert table.num_rows == 79_602
    assert not set(table["discharge_disposition_id"].to_pylist()) & {"11", "13", "19"}
    assert 0.11 < sum(table["is_readmitted_30d"].to_pylist()) / table.num_rows < 0.12
    assert table["hba1c"].null_count == 66_168


def test_sp500_has_a_loss_where_it_fell_and_trading_days_in_order():
    table = table_of("market-sp500")
    assert table.num_rows == 5030
    returns, losses = table["return_pct"].to_numpy(), table["loss_pct"].to_numpy()
    assert ((losses > 0) == (returns < 0)).all()
    days = table["session"].to_numpy().astype("datetime64[D]")
    assert (np.diff(days) > np.timedelta64(0, "D")).all()
    assert np.is_busday(days).all()
    assert str(days[0]) == "2006-01-04"


def test_nasa_s_projects_lack_what_they_did_not_measure():
    table = table_of("nasa-mdp-defects")
    assert (table.num_rows, sum(table["is_defective"].to_pylist())) == (15_627, 2723)
    assert len(set(table["project"].to_pylist())) == 10
    assert table["call_pairs"].null_count >= 7720
    assert table["loc_total"].null_count == 0


def test_mlcq_has_reviews_of_two_smells():
    table = table_of("mlcq-code-smells-ck")
    assert table.num_rows == 450
    assert set(table["smell"].to_pylist()) == {"blob", "data class"}
    assert set(table["severity"].to_pylist()) == {"none", "minor", "major", "critical"}


def test_comments_that_repeat_in_a_project_are_there_once():
    table = table_of("satd-maldonado")
    pairs = list(zip(table["project"].to_pylist(), table["text"].to_pylist(), strict=True))
    kinds = list(zip(pairs, table["kind"].to_pylist(), strict=True))
    assert len(set(kinds)) == len(kinds) == 39_037
    assert Counter(table["kind"].to_pylist())["design"] == 2264


def test_masked_classes_name_no_pattern():
    plain, masked = table_of("design-patterns-dpdf"), table_of("design-patterns-dpdf-masked")
    assert plain.num_rows == masked.num_rows == 739
    named = [
        sum(p.lower() in t.lower() for p, t in zip(*columns, strict=True))
        for columns in (
            (table["pattern"].to_pylist(), table["text"].to_pylist()) for table in (plain, masked)
        )
    ]
    assert named[0] > 400
    assert named[1] == 0


def test_names_are_numbered_and_words_of_the_language_stay():
    code = '/* a Proxy */ class Proxy { String name = "proxy"; int get() { return name; } } // x'
    expected = 'class v1 { String v2 = ""; int v3() { return v2; } }'
    assert " ".join(without_names(code).split()) == expected
