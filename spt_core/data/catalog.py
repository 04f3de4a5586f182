"""Public data sets that the project knows how to read: name -> Corpus.

Nothing is downloaded. A file is looked for in `data_home/INDUSTRY/NAME/`, and must have the sha256
of the copy that the figures in `notes` were made with.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.csv

from spt_core.artifacts import as_uri, exists, filesystem, read_bytes
from spt_core.data.corpus import Corpus, Positive
from spt_core.data.sources import open_corpus
from spt_core.errors import CorruptArtifactError, InputError, NotFoundError, nearest
from spt_core.signature import Field, Window
from spt_core.task import find


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PublicDataset:
    """Where a public data set comes from, its licence and the roles of its columns.

    `files` maps each file to its sha256. `read` turns the folder's URI into a table, for formats
    that a Corpus does not take; without it the first file is the corpus.
    """

    name: str
    task: str
    source: str
    licence: str
    files: Mapping[str, str]
    label: str
    notes: str
    read: Callable[[str], pa.Table] | None = None
    time: str | None = None
    entities: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    declared: tuple[Field, ...] = ()
    windows: tuple[Window, ...] = ()
    positive: Positive | None = None
    synthetic: bool = False


def open_dataset(name: str, *, data_home: str, storage: str) -> Corpus:
    """The corpus of a public data set whose files are in the folder `data_home`."""
    if name not in DATASETS:
        raise NotFoundError(f"no public data set is named {name!r}; {nearest(name, DATASETS)}")
    dataset = DATASETS[name]
    task = find(dataset.task)
    folder = f"{as_uri(data_home)}/{task.industry}/{name}"
    for file, expected in dataset.files.items():
        _check(f"{folder}/{file}", expected, dataset)
    return open_corpus(
        task,
        dataset.read(folder) if dataset.read else f"{folder}/{next(iter(dataset.files))}",
        storage=storage,
        label=dataset.label,
        time=dataset.time,
        entities=dataset.entities,
        protected=dataset.protected,
        drop=dataset.drop,
        keep=dataset.keep,
        declared=dataset.declared,
        windows=dataset.windows,
        positive=dataset.positive,
        name=name,
        licences=(dataset.licence,),
        synthetic=dataset.synthetic,
    )


def read_german_credit(folder: str) -> pa.Table:
    """The Statlog German credit data as a table, its codes (A11, ...) as they are."""
    options = pyarrow.csv.ReadOptions(column_names=list(_GERMAN_COLUMNS), use_threads=False)
    return pyarrow.csv.read_csv(
        io.BytesIO(read_bytes(f"{folder}/german.data")),
        read_options=options,
        parse_options=pyarrow.csv.ParseOptions(delimiter=" "),
    )


def _check(uri: str, expected: str, dataset: PublicDataset) -> None:
    if not exists(uri):
        raise InputError(
            f"the data set {dataset.name!r} must be in the data folder, however: there is no {uri}"
            f"; get it from {dataset.source} ({dataset.licence})"
        )
    found = _sha256(uri)
    if found != expected:
        raise CorruptArtifactError(
            f"a public file must be the one that the catalog knows, however: {uri} has sha256 "
            f"{found[:12]}, the catalog says {expected[:12]}; get it from {dataset.source}"
        )


def _sha256(uri: str) -> str:
    files, path = filesystem(uri)
    with files.open_input_file(path) as stream:  # a stream would unpack .gz on its own
        return hashlib.sha256(stream.read()).hexdigest()


_HANDBOOK_WINDOWS = (
    *(Window(entity="CUSTOMER_ID", function="count", span_days=days) for days in (1, 7, 30)),
    *(
        Window(entity="CUSTOMER_ID", function="mean", value="TX_AMOUNT", span_days=days)
        for days in (1, 7, 30)
    ),
    *(
        Window(entity="TERMINAL_ID", function="label_rate", span_days=days, delay_days=7)
        for days in (1, 7, 30)
    ),
    *(Window(entity="TERMINAL_ID", function="count", span_days=days) for days in (1, 7, 30)),
)
_GERMAN_COLUMNS = (
    "checking_status",
    "duration_months",
    "credit_history",
    "purpose",
    "credit_amount",
    "savings",
    "employment_since",
    "installment_rate",
    "personal_status_sex",
    "other_debtors",
    "residence_since",
    "property",
    "age",
    "other_installment_plans",
    "housing",
    "existing_credits",
    "job",
    "num_dependents",
    "telephone",
    "foreign_worker",
    "credit_risk",
)
_GERMAN_NUMBERS = {
    "duration_months": "months",
    "credit_amount": "DM",
    "installment_rate": "% of disposable income, in four classes",
    "residence_since": "years, in four classes",
    "age": "years",
    "existing_credits": "",
    "num_dependents": "",
}

DATASETS: dict[str, PublicDataset] = {
    dataset.name: dataset
    for dataset in (
        PublicDataset(
            name="fraud-handbook-sim",
            task="financial_services/fraud_detection",
            source="https://github.com/Fraud-Detection-Handbook/simulated-data-raw",
            licence="CC BY-SA 4.0 (book), GPL-3.0 (code); the data repository states none",
            files={
                "transactions_2018-06-25_2018-08-14.parquet": (
                    "0fa4657dbd8682d54c3248e03423eb7990e9a6fa068af4418a690459c3509259"
                )
            },
            label="TX_FRAUD",
            time="TX_DATETIME",
            entities=("CUSTOMER_ID", "TERMINAL_ID"),
            drop=("TRANSACTION_ID", "TX_FRAUD_SCENARIO", "TX_TIME_SECONDS", "TX_TIME_DAYS"),
            windows=_HANDBOOK_WINDOWS,
            synthetic=True,
            notes=(
                "488,678 simulated transactions of 51 days, 0.89 % fraud. As in the book's chapter "
                "3, the first 30 days only feed windows: split with history_days=30 and "
                "label_delay_days=7, shares about one week each. TX_FRAUD_SCENARIO says which rule "
                "made a fraud; fraud in scenario 1 is TX_AMOUNT > 220. The published protocol also "
                "removes known compromised customers from the test week."
            ),
        ),
        PublicDataset(
            name="fraud-ulb-sampled",
            task="financial_services/fraud_detection",
            source="https://www.kaggle.com/datasets/mlg-ulb/creditcardfraud",
            licence="DbCL 1.0 / ODbL",
            files={
                "creditcard_sampled.csv.gz": (
                    "db8f2730f986483c53a8fcec39524cd99f13c1bbbb95553e43f58c239e1714d4"
                )
            },
            label="Class",
            time="Time",
            notes=(
                "4,131 rows: every fraud but only a sample of the legitimate rows, so that "
                "precision is too high: give a legitimate row the weight 284315 / 6971 = 40.78. "
                "V1 to V28 are principal components; Time is seconds since the first transaction, "
                "so that its hour of day has an unknown offset."
            ),
        ),
        PublicDataset(
            name="credit-taiwan",
            task="financial_services/risk_assessment",
            source="https://archive.ics.uci.edu/dataset/350/default+of+credit+card+clients",
            licence="CC BY 4.0",
            files={
                "taiwan_default_train.csv.gz": (
                    "483386fa36e31bb8dc5167e40ed8f638dec77c22dd62ed0a7c5bc553c7cfb2ab"
                )
            },
            label="default payment",
            protected=("SEX", "AGE"),
            drop=("ID",),
            declared=(
                Field(name="LIMIT_BAL", kind="number", unit="NT dollar", minimum=0.0),
                Field(
                    name="EDUCATION", kind="category", description="1 to 4; 0, 5, 6 undocumented"
                ),
                Field(name="MARRIAGE", kind="category", description="1 to 3; 0 undocumented"),
                *(
                    Field(name=f"PAY_{month}", kind="number", unit="months late, -2 to 0 is not")
                    for month in (0, 2, 3, 4, 5, 6)
                ),
            ),
            notes=(
                "24,048 card clients of 2005, 22.1 % default in the next month; 35 exact "
                "duplicates. No official split. Boosted trees reach AUC 0.78 (here 0.782)."
            ),
        ),
        PublicDataset(
            name="credit-german",
            task="financial_services/risk_assessment",
            source="https://archive.ics.uci.edu/dataset/144/statlog+german+credit+data",
            licence="CC BY 4.0",
            files={
                "german.data": "b21f3d81db8071257d5ff1deaeba1fd4303b62712e6fcc9715c7a86202cb5871"
            },
            read=read_german_credit,
            label="credit_risk",
            positive=2,
            protected=("personal_status_sex", "foreign_worker", "age"),
            declared=tuple(
                Field(name=name, kind="number", unit=_GERMAN_NUMBERS[name])
                if name in _GERMAN_NUMBERS
                else Field(name=name, kind="category")
                for name in _GERMAN_COLUMNS[:-1]
            ),
            notes=(
                "1,000 loans, 30 % bad (credit_risk 2 is the positive class), with the cost matrix "
                "5:1. So few rows that AUC is known to about 0.03; boosted trees reach 0.785 here."
            ),
        ),
    )
}
