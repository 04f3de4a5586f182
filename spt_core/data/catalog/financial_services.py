"""Public data of banks, lenders and payment companies."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re

import pyarrow as pa
import pyarrow.csv

from spt_core.artifacts import read_bytes
from spt_core.data.catalog.market import read_binance, read_index, read_ohlcv
from spt_core.data.catalog.values import PublicDataset
from spt_core.data.corpus import Roles
from spt_core.signature import Field, Window

MIN_PASSAGE = 20  # characters: shorter ones are headings
_UNFAIR_TAG = re.compile(r"\b([a-z]+)[23]\b")


def read_german_credit(folder: str) -> pa.Table:
    """The Statlog German credit data as a table, its codes (A11, ...) as they are."""
    options = pyarrow.csv.ReadOptions(column_names=list(_GERMAN_COLUMNS), use_threads=False)
    return pyarrow.csv.read_csv(
        io.BytesIO(read_bytes(f"{folder}/german.data")),
        read_options=options,
        parse_options=pyarrow.csv.ParseOptions(delimiter=" "),
    )


def read_south_german_credit(folder: str) -> pa.Table:
    """The corrected cases of the same bank, their codes as the code table numbers them."""
    return pyarrow.csv.read_csv(
        io.BytesIO(read_bytes(f"{folder}/SouthGermanCredit.asc")),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter=" "),
    )


def read_unfair_tos(folder: str) -> pa.Table:
    """Sentences with the categories in which they are potentially or clearly unfair."""
    content = gzip.decompress(read_bytes(f"{folder}/train.tsv.gz")).decode()
    rows = [
        row
        for row in csv.DictReader(io.StringIO(content, newline=""), delimiter="\t")
        if any(letter.isalpha() for letter in row["sentence"])
    ]
    return pa.table(
        {
            "text": [row["sentence"] for row in rows],
            "document": [row["document"] for row in rows],
            "risk_categories": [
                json.dumps(sorted(set(_UNFAIR_TAG.findall(row["tags"])))) for row in rows
            ],
        }
    )


def read_obliqa(folder: str) -> pa.Table:
    """Passages of rule books with the topics whose keywords they were matched to."""
    content = gzip.decompress(read_bytes(f"{folder}/topic_classifications.json.gz"))
    topics: dict[str, set[str]] = {}
    for topic, members in json.loads(content).items():
        for passage in members:
            topics.setdefault(passage["ID"], set()).add(topic)
    lines = gzip.decompress(read_bytes(f"{folder}/StructuredRegulatoryDocuments.jsonl.gz"))
    passages = [json.loads(line) for line in lines.splitlines()]
    rows = [p for p in passages if len(p["Passage"].strip()) >= MIN_PASSAGE]
    return pa.table(
        {
            "text": [row["Passage"] for row in rows],
            "document": [f"document-{row['DocumentID']}" for row in rows],
            "topics": [json.dumps(sorted(topics.get(row["ID"], ()))) for row in rows],
        }
    )


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

_SOUTH_GERMAN_ORDERED = (
    "employment_duration",
    "installment_rate",
    "present_residence",
    "number_credits",
    "people_liable",
)
_SOUTH_GERMAN_CODES = (
    "status",
    "credit_history",
    "purpose",
    "savings",
    "other_debtors",
    "property",
    "other_installment_plans",
    "housing",
    "job",
    "telephone",
)

DATASETS: tuple[PublicDataset, ...] = (
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
        synthetic=True,
        settings=(
            "split.history_days=11",
            "split.label_delay_days=7",
            "split.train=0.4",
            "split.validation=0.25",
            "split.calibration=0.25",
            "split.test=0.1",
        ),
        roles=Roles(
            label="TX_FRAUD",
            time="TX_DATETIME",
            entities=("CUSTOMER_ID", "TERMINAL_ID"),
            drop=("TRANSACTION_ID", "TX_FRAUD_SCENARIO", "TX_TIME_SECONDS", "TX_TIME_DAYS"),
            windows=_HANDBOOK_WINDOWS,
        ),
        notes=(
            "488,678 simulated transactions of 51 days, 0.89 % fraud. As in the book's chapter "
            "3, the first days only feed windows and labels are known after 7 days; the book has "
            "two parts of a week each, here each of the three later parts begins 7 days after the "
            "labels of the one before are known. TX_FRAUD_SCENARIO says which rule "
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
        roles=Roles(label="Class", time="Time"),
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
        roles=Roles(
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
        files={"german.data": "b21f3d81db8071257d5ff1deaeba1fd4303b62712e6fcc9715c7a86202cb5871"},
        read=read_german_credit,
        roles=Roles(
            label="credit_risk",
            positive=2,
            protected=("personal_status_sex", "foreign_worker", "age"),
            declared=tuple(
                Field(name=name, kind="number", unit=_GERMAN_NUMBERS[name])
                if name in _GERMAN_NUMBERS
                else Field(name=name, kind="category")
                for name in _GERMAN_COLUMNS[:-1]
            ),
        ),
        notes=(
            "1,000 loans, 30 % bad (credit_risk 2 is the positive class), with the cost matrix "
            "5:1. So few rows that AUC is known to about 0.03; boosted trees reach 0.785 here."
        ),
    ),
    PublicDataset(
        name="credit-german-south",
        task="financial_services/credit_scoring",
        source="https://archive.ics.uci.edu/dataset/573/south+german+credit+update",
        licence="CC BY 4.0",
        files={
            "SouthGermanCredit.asc": (
                "fc41f36d43482df98c90e0de996c097f1219db6177b136a26514e1face28f3aa"
            )
        },
        folder="credit-german",
        read=read_south_german_credit,
        roles=Roles(
            label="credit_risk",
            positive=0,
            protected=("personal_status_sex", "foreign_worker", "age"),
            declared=(
                Field(name="duration", kind="number", unit="months"),
                Field(name="amount", kind="number", unit="DM, changed but in order"),
                *(
                    Field(name=name, kind="number", description="in rising classes")
                    for name in _SOUTH_GERMAN_ORDERED
                ),
                *(Field(name=name, kind="category") for name in _SOUTH_GERMAN_CODES),
            ),
        ),
        notes=(
            "The 1,000 loans of credit-german with their codes put right (Groemping 2019), 30 % "
            "bad (credit_risk 0 is the positive class). They are the same people: nothing may be "
            "trained on the one and tested on the other."
        ),
    ),
    PublicDataset(
        name="compliance-unfair-tos",
        task="financial_services/regulatory_compliance",
        source="https://github.com/nlp-unibo/Multilingual-Unfair-Clause-Detection",
        licence="CC BY 4.0",
        files={"train.tsv.gz": "a8ef1f92416019d543eda13b4ae27ff389c80565f6feaed3e12a5ed67f91f1c5"},
        read=read_unfair_tos,
        roles=Roles(label="risk_categories", group="document"),
        notes=(
            "14,407 sentences of 40 English terms of service, of which 1,085 (7.5 %) are unfair: "
            "they have a category at level 2 (potentially) or 3 (clearly unfair); level 1 is "
            "clearly fair. The 986 sentences without a letter, which number sections, are left "
            "out. Split by document: boilerplate repeats. TF-IDF with logistic regression reaches "
            "F1 0.70 for unfair or not, by document."
        ),
    ),
    PublicDataset(
        name="compliance-obliqa",
        task="financial_services/regulatory_compliance",
        source="https://github.com/RegNLP/ObliQADataset",
        licence="none stated; the rules are those of ADGM: research use until cleared",
        files={
            "StructuredRegulatoryDocuments.jsonl.gz": (
                "8afa8269ec49aa51e1f9e4a0f95154edd64ac2141133c8e2dde61b06cb79e28e"
            ),
            "topic_classifications.json.gz": (
                "0ef8cf4da2f55924c2c3b6d049b0eb0b16e9bfea47d86523ce03e80f40ff316e"
            ),
        },
        read=read_obliqa,
        roles=Roles(label="topics", group="document"),
        notes=(
            "12,396 passages of at least 20 characters in 40 rule books. WEAK labels: the 47 "
            "topics were given by matching keywords, which a model can only learn again, so that "
            "its score says nothing of rules; a topic is no risk, so that `compliant` means "
            "nothing either. One passage is longer than a text may be and goes to quarantine."
        ),
    ),
    PublicDataset(
        name="trading-ohlcv",
        task="financial_services/trading",
        source="https://github.com/nautechsystems/nautilus_trader",
        licence="LGPL-3.0 (repository); the vendor's data, research use",
        files={
            "btc-perp-20211231-20220201_1m.csv.gz": (
                "310f73fb3136e96418eeba8928cb250c025ffabbb1589e1baf9f90aef00d9954"
            ),
            "gbpusd-m1-bid-2012.csv.gz": (
                "5f759df6b02f30ae415b092f4b51cb35683e5cd58cbe8c8a7007ea4838c5bb5c"
            ),
            "gbpusd-m1-ask-2012.csv.gz": (
                "ba42f254274466ba98e41de22c4e60aabb4157e0183b42e8cba873537e6ed10b"
            ),
        },
        read=read_ohlcv,
        # A horizon and the longest time constant, 17 horizons, so that parts share neither a move
        # that labels are made of nor most of what the features of the first rows remember.
        settings=("split.label_delay_days=0.1771",),
        roles=Roles(required=("horizon_s", "fee_bps", "spread_bps", "volatility_bps")),
        notes=(
            "45,031 minute bars of BTC-PERP (FTX), 2021-12-31 to 2022-02-01: 8,992 moments, one in "
            "five minutes, labelled 15 minutes ahead, 43 % flat; neighbouring labels share ten "
            "minutes. A time is taken for the end of its bar. The files tell no costs: a spread of "
            "one tick (1 USD) and a fee of 7 basis points a side are assumed, and come to more "
            "than half of the mean absolute move. The next move has the sign of the last in 47.1 % "
            "of the moments. On the last 4.7 days (bench_trading btc, recipe quick) the model's "
            "log loss is 1.073, that of training shares 1.076, within chance of each other; its "
            "sign is right in 53.3 %, that of a bet against the last move in 53.1 %. At these "
            "costs no decision pays and it always abstains; at no fee it earns 2.1 basis points a "
            "trade (0.3 to 3.4, from six days). "
            "The bars of GBPUSD (one month of 2012, bid and ask) are read by that bench alone; of "
            "347 of them the ask lies below the bid, and they are refused."
        ),
    ),
    PublicDataset(
        name="market-sp500",
        folder="trading-ohlcv",
        task="financial_services/market_risk",
        source="https://github.com/stefan-jansen/machine-learning-for-trading",
        licence="MIT (repository); the vendor's data, research use",
        files={
            "sp500_index_daily.csv.gz": (
                "0d24c45f93ab5aec817569e1d66f8371471f54bb86cb32705f7e35c97336bda1"
            )
        },
        read=read_index,
        roles=Roles(label="loss_pct", time="session", group="instrument"),
        notes=(
            "5,030 daily log returns of the S&P 500, 2006 to 2025; of the years before 2007 there "
            "is no whole window. The closes (87 in 2006, 682 in 2025) are not the index's own, and "
            "look like those of a fund on it with dividends. Split by time: about three years "
            "test, with 8 exceedances to be expected at 99 %: so few that tests see gross errors "
            "alone. On the last 764 days (bench_market_risk, one seed) the student's network "
            "alone has 5 exceedances of 7.6 at 99 % and 13 of 38 at 95 %, where Kupiec's test "
            "refuses it: the wild days that moved its quantiles up did not come back. Its quantile "
            "loss is that of RiskMetrics (0.121; historical simulation 0.124), no better."
        ),
    ),
    PublicDataset(
        name="trading-binance-lob",
        task="financial_services/trading",
        source="https://github.com/nkaz001/hftbacktest",
        licence="MIT (repository); market data under Binance's terms",
        files={
            "spot/btcusdt_20240808.gz": (
                "5d263f4c5379cfc27379ef0e22779aa33804463d1b69c292e9c0714e31f2e1b4"
            ),
            "spot/ethusdt_20240808.gz": (
                "179a67651ec90f8d299c033f85df29027315a30a738eae74a1388d560f80a737"
            ),
        },
        read=read_binance,
        # A horizon and the longest time constant, 34 s, are half of so short a part.
        settings=(
            "split.label_delay_days=0.000394",
            "split.train=0.4",
            "split.validation=0.2",
            "split.calibration=0.2",
            "split.test=0.2",
        ),
        roles=Roles(
            entities=("instrument",),
            drop=("time",),  # minutes of one day: later rows would lie beyond all training rows
            required=("horizon_s", "fee_bps", "spread_bps", "volatility_bps"),
        ),
        notes=(
            "Best quotes and trades of BTC and ETH in USDT, received 2024-08-08 23:54:14 to "
            "24:00: 5,409 moments, ten a second of each, labelled two seconds ahead. Minutes of "
            "one evening: they show latency and equal features, and no figure of quality from "
            "them means anything. Deeper levels of the books are left out. A fee of 10 basis "
            "points a side, Binance's usual one, is assumed: ten times the mean absolute move of "
            "the two seconds, so that no decision pays."
        ),
    ),
)
