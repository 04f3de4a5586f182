"""Public data of insurers."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import datetime

import pyarrow as pa
import pyarrow.csv

from spt_core.artifacts import read_bytes
from spt_core.data.catalog.values import PublicDataset
from spt_core.data.corpus import Roles
from spt_core.signature import Field

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS_A_WEEK, _LAST_DAY = 7, 28  # a fifth week of February has no other day


def read_carclaims(folder: str) -> pa.Table:
    """The claims, with the first day of the accident's week as a time, and an age of 0 as none."""
    content = gzip.decompress(read_bytes(f"{folder}/fraud_oracle_1994_1995.csv.gz"))
    table = pyarrow.csv.read_csv(
        io.BytesIO(content), read_options=pyarrow.csv.ReadOptions(use_threads=False)
    )
    dates = [
        datetime(year, _MONTHS.index(month) + 1, min(1 + _DAYS_A_WEEK * (week - 1), _LAST_DAY))
        for year, month, week in zip(
            *(table[name].to_pylist() for name in ("Year", "Month", "WeekOfMonth")), strict=True
        )
    ]
    ages = [age or None for age in table["Age"].to_pylist()]
    table = table.set_column(table.column_names.index("Age"), "Age", pa.array(ages, pa.int64()))
    return table.append_column("accident_week", pa.array(dates, pa.timestamp("us")))


def read_small_claims(folder: str) -> pa.Table:
    """The claims without the empty last column; dates as times, "?" as no value."""
    content = read_bytes(f"{folder}/insurance_claims.csv")
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    names = [name for name in rows[0] if name != "_c39"]
    columns: dict[str, pa.Array] = {}
    for name in names:
        values = [None if row[name] in ("?", "") else row[name] for row in rows]
        if name.endswith("_date"):
            dates = [None if v is None else datetime.strptime(v, "%d-%m-%y") for v in values]
            columns[name] = pa.array(dates, pa.timestamp("us"))
        else:
            columns[name] = pa.array(values, pa.string())
    return pa.table(columns)


def read_caravan(folder: str) -> pa.Table:
    """Customers of the CoIL Challenge 2000 with readable names of the 86 columns."""
    return pyarrow.csv.read_csv(
        io.BytesIO(read_bytes(f"{folder}/ticdata2000.txt")),
        read_options=pyarrow.csv.ReadOptions(column_names=list(_CARAVAN), use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter="\t"),
    )


# Shares of households of the customer's postcode, in ten classes, and classes of numbers.
_OF_POSTCODE = (
    "num_houses", "household_size", "average_age", "main_customer_type", "roman_catholic",
    "protestant", "other_religion", "no_religion", "married", "living_together",
    "other_relation", "single", "without_children", "with_children", "high_education",
    "medium_education", "low_education", "high_status", "entrepreneur", "farmer",
    "middle_management", "skilled_labourers", "unskilled_labourers", "social_class_a",
    "social_class_b1", "social_class_b2", "social_class_c", "social_class_d", "rented_house",
    "home_owners", "one_car", "two_cars", "no_car", "national_health_insurance",
    "private_health_insurance", "income_below_30000", "income_30000_to_45000",
    "income_45000_to_75000", "income_75000_to_122000", "income_above_123000", "average_income",
    "purchasing_power_class",
)  # fmt: skip
_POLICIES = (
    "private_third_party", "firms_third_party", "agriculture_third_party", "car", "delivery_van",
    "motorcycle", "lorry", "trailer", "tractor", "agricultural_machine", "moped", "life",
    "private_accident", "family_accident", "disability_insurance", "fire", "surfboard", "boat",
    "bicycle", "property", "social_security",
)  # fmt: skip
_CARAVAN = (
    "customer_subtype",
    *_OF_POSTCODE,
    *(f"contribution_{name}_policies" for name in _POLICIES),
    *(f"num_{name}_policies" for name in _POLICIES),
    "caravan",
)
_RELIGION = ("roman_catholic", "protestant", "other_religion", "no_religion")
_RELATION = ("married", "living_together", "other_relation", "single")

DATASETS: tuple[PublicDataset, ...] = (
    PublicDataset(
        name="auto-claims-carclaims",
        task="insurance/claims_fraud",
        source="https://www.kaggle.com/datasets/shivamb/vehicle-claim-fraud-detection",
        licence="CC0 (of a copy; Angoss KnowledgeSeeker, provenance old)",
        files={
            "fraud_oracle_1994_1995.csv.gz": (
                "8a50243bd0b6d3174198d3983d97810a2aa600f2d0719edbf1e84ef03a7974e7"
            )
        },
        read=read_carclaims,
        roles=Roles(
            label="FraudFound_P",
            time="accident_week",
            protected=("Sex", "MaritalStatus", "Age", "AgeOfPolicyHolder"),
            drop=("PolicyNumber", "Year", "Month", "MonthClaimed", "WeekOfMonth"),
            declared=(
                Field(name="RepNumber", kind="category", description="who handled it"),
                Field(name="DriverRating", kind="number"),
                Field(name="Deductible", kind="number", unit="USD"),
            ),
        ),
        notes=(
            "11,337 motor claims of 1994 and 1995, 6.3 % fraud, split by the week of the accident; "
            "amounts and times are in classes. PolicyNumber is a row number and Year was the split "
            "of who published first, so both are left out, and months, which later parts hold "
            "others of. 320 rows have an age of 0, which counts as missing; AgeOfPolicyHolder is "
            "the same age in bands, and protected by role, as its name alone does not tell. "
            "Boosted trees trained on 1994 and 1995 have an AUC of 0.774 and an average precision "
            "of 0.147 on 1996, which is not here."
        ),
    ),
    PublicDataset(
        name="auto-claims-small",
        task="insurance/claims_fraud",
        source="https://www.kaggle.com/datasets/buntyshah/auto-insurance-claims-data",
        licence="CC0 (of a copy; origin unclear)",
        files={
            "insurance_claims.csv": (
                "abc8a7a12613f93c02ac9958643b2f956392afd42884659dbd31ad92653f7ea8"
            )
        },
        read=read_small_claims,
        synthetic=True,
        settings=("split.kind=random",),  # two months, of which a part is days
        roles=Roles(
            label="fraud_reported",
            positive="Y",
            protected=("insured_sex", "age", "insured_relationship"),
            drop=("policy_number", "insured_zip", "incident_location"),
            declared=(
                Field(name="policy_bind_date", kind="time"),
                Field(name="auto_year", kind="number"),
            ),
        ),
        notes=(
            "1,000 motor claims of two months of 2015, 24.7 % reported as fraud. Probably "
            "synthetic, and treated so: incident_severity with two of the twenty hobbies (chess, "
            "cross-fit) gives nearly all of the signal. So few rows that AUC is known to about "
            "0.04; boosted trees have 0.857 in five folds. The relationship (husband, wife) tells "
            "sex and marital status: it is protected by role."
        ),
    ),
    PublicDataset(
        name="caravan-tic",
        task="insurance/policy_uptake",
        source="https://archive.ics.uci.edu/dataset/125/insurance+company+benchmark+coil+2000",
        licence="CC BY 4.0 (UCI); original notice: research, no commercial use",
        files={
            "ticdata2000.txt": "f6a7fe083ccedb3776bc30f5e000bdd34bfd25f625d2b4672f84afa6b70cb178"
        },
        read=read_caravan,
        roles=Roles(
            label="caravan",
            protected=("average_age", *_RELIGION, *_RELATION),
            drop=("customer_subtype", "main_customer_type"),
        ),
        notes=(
            "5,822 customers of a Dutch insurer, 348 (6.0 %) with a caravan policy: the training "
            "part of the CoIL Challenge 2000 (the other 4,000 are not here). 43 columns are of the "
            "postcode, not of the customer: shares of religions and relations there, and the "
            "average age, stand for protected attributes of people and are kept out, and so are "
            "the two customer types, whose classes are named by age and family. 602 rows are "
            "duplicates and 49 have both labels. Logistic regression has an AUC of 0.727."
        ),
    ),
)
