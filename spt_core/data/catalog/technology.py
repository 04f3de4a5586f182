"""Public data of software and security teams."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from spt_core.artifacts import read_bytes
from spt_core.data.catalog import software
from spt_core.data.catalog.values import PublicDataset
from spt_core.data.corpus import Roles


def read_tram(folder: str) -> pa.Table:
    """Sentences of threat reports, each with its ATT&CK technique."""
    rows = json.loads(gzip.decompress(read_bytes(f"{folder}/single_label.json.gz")))
    return pa.table(
        {
            "text": [row["text"] for row in rows],
            "report": [row["doc_title"] for row in rows],
            "technique": [row["label"] for row in rows],
        }
    )


SVEN_WEAKNESSES = (22, 78, 79, 89, 125, 190, 416, 476, 787)


def read_sven(folder: str) -> pa.Table:
    """Functions before and after the commit that mended them; a mended one has no weakness."""
    pairs = [
        json.loads(line)
        for number in SVEN_WEAKNESSES
        for line in _lines(f"{folder}/train/cwe-{number:03d}.jsonl.gz")
    ]
    # What a commit left as it was teaches nothing.
    pairs = [pair for pair in pairs if pair["func_src_before"] != pair["func_src_after"]]
    return pa.table(
        {
            "code": [code for p in pairs for code in (p["func_src_before"], p["func_src_after"])],
            "commit": [pair["commit_link"] for pair in pairs for _ in range(2)],
            "weaknesses": [
                label
                for pair in pairs
                for label in (json.dumps([f"CWE-{int(pair['vul_type'][4:])}"]), "[]")
            ],
        }
    )


def read_owasp(folder: str) -> pa.Table:
    """Test cases of the OWASP Benchmark with their category; harmless ones have no weakness."""
    cases = [json.loads(line) for line in _lines(f"{folder}/testcases.jsonl.gz")]
    return pa.table(
        {
            "code": [case["code"] for case in cases],
            "category": [case["category"] for case in cases],
            "weaknesses": [
                json.dumps([f"CWE-{case['cwe']}"] if case["vulnerable"] else []) for case in cases
            ],
        }
    )


def _lines(uri: str) -> list[bytes]:
    return gzip.decompress(read_bytes(uri)).splitlines()


SMD_MACHINES = ("machine-1-6", "machine-2-1")
SMD_START = np.datetime64("2019-01-01T00:00", "us")  # not known: the files have minutes alone
SKAB_RUNS = (("anomaly-free", ("anomaly-free",)), ("valve1", range(16)), ("other", range(1, 15)))
NAB_FILE = "realKnownCause/machine_temperature_system_failure.csv"


def read_smd(folder: str) -> pa.Table:
    """Minutes of two servers, those of training first; a time says the order, not the day."""
    tables: list[pa.Table] = []
    for machine in SMD_MACHINES:
        train, test = (
            pq.read_table(io.BytesIO(read_bytes(f"{folder}/{machine}_{part}.parquet")))
            for part in ("train", "test")
        )
        labels = [np.zeros(train.num_rows, np.int8), np.asarray(test["label"]).astype(np.int8)]
        readings = pa.concat_tables([train, test.select(train.column_names)])
        minutes = np.arange(readings.num_rows).astype("timedelta64[m]")
        tables.append(
            pa.table(
                {
                    "machine": pa.array([machine] * readings.num_rows),
                    "time": pa.array(SMD_START + minutes),
                    **{name: readings[name] for name in readings.column_names},
                    "is_anomaly": np.concatenate(labels),
                }
            )
        )
    return pa.concat_tables(tables)


def read_nab(folder: str) -> pa.Table:
    """Five-minute readings of a machine's temperature, and the windows in which it failed."""
    content = gzip.decompress(read_bytes(f"{folder}/data/{NAB_FILE}.gz"))
    table = pyarrow.csv.read_csv(io.BytesIO(content))
    times = np.asarray(table["timestamp"]).astype("datetime64[us]")
    is_anomaly = np.zeros(len(times), np.int8)
    windows = json.loads(read_bytes(f"{folder}/labels/combined_windows.json"))
    for first, last in windows[NAB_FILE]:
        is_anomaly |= (times >= np.datetime64(first)) & (times <= np.datetime64(last))
    return pa.table({"time": times, "temperature": table["value"], "is_anomaly": is_anomaly})


def read_skab(folder: str) -> pa.Table:
    """Seconds of 31 runs of a water circuit, each a unit; the run without labels is usual."""
    tables: list[pa.Table] = []
    for kind, names in SKAB_RUNS:
        for name in names:
            content = gzip.decompress(read_bytes(f"{folder}/{kind}/{name}.csv.gz"))
            options = pyarrow.csv.ParseOptions(delimiter=";")
            table = pyarrow.csv.read_csv(io.BytesIO(content), parse_options=options)
            labels = np.zeros(table.num_rows, np.int8)
            if "anomaly" in table.column_names:
                labels = np.asarray(table["anomaly"]).astype(np.int8)
            sensors = [n for n in table.column_names if n not in _SKAB_OTHERS]
            tables.append(
                pa.table(
                    {
                        "run": pa.array([f"{kind}/{name}"] * table.num_rows),
                        "time": table["datetime"],
                        **{sensor: table[sensor].cast(pa.float64()) for sensor in sensors},
                        "is_anomaly": labels,
                    }
                )
            )
    return pa.concat_tables(tables)


_SKAB_OTHERS = ("datetime", "anomaly", "changepoint")


DATASETS: tuple[PublicDataset, ...] = (
    *software.DATASETS,
    PublicDataset(
        name="tram-attack",
        task="technology/security_analysis",
        source="https://github.com/center-for-threat-informed-defense/tram",
        licence="Apache-2.0",
        files={
            "single_label.json.gz": (
                "caf27766385468251b2b8f2f7bd1c41d3764c78533d72f88d059768f542cd277"
            )
        },
        read=read_tram,
        roles=Roles(label="technique", group="report"),
        notes=(
            "5,089 sentences of 149 threat reports with one of 50 techniques: 685 of T1027, 4 of "
            "the rarest. 273 texts repeat. Split by report: published scores of about 0.87 are of "
            "random splits, which leak a report's style. TF-IDF with logistic regression: macro-F1 "
            "0.67 by report, 0.76 at random."
        ),
    ),
    PublicDataset(
        name="sven",
        task="technology/code_analysis",
        source="https://github.com/eth-sri/sven",
        licence="MIT (repository; the functions come from many open source projects)",
        files={
            "train/cwe-022.jsonl.gz": (
                "5d1b491fcc15a72c8bfdf0fa24c8d77a248f45cf3cfcedd269891801d1dfc97e"
            ),
            "train/cwe-078.jsonl.gz": (
                "824d4d54995ef8faa62dc2899840d809f60e6f024d18d81659f90d4711a8dbbe"
            ),
            "train/cwe-079.jsonl.gz": (
                "0edb39cf8d615254d1dae16823649981c46468a5eb9a7ef20874188eca7c0715"
            ),
            "train/cwe-089.jsonl.gz": (
                "19d82c35473f34052f7f1af26757436b35b1e62adc52988db5cf1d993c6ac4a9"
            ),
            "train/cwe-125.jsonl.gz": (
                "9f24537bda3dc94e442622ddd78b4f57121974a049f7ba00c7da68c9ecefd1ed"
            ),
            "train/cwe-190.jsonl.gz": (
                "ef308e77b3ab52287902c76d8cffdfaff9c8914d1713cfb3190553df2f3dd9e6"
            ),
            "train/cwe-416.jsonl.gz": (
                "8e781c6e7f89dfe2ebac33ce718e0f708451b63632e066b09b63669a5ed4eeee"
            ),
            "train/cwe-476.jsonl.gz": (
                "556cd74ba0eddb95d8029e4c9e3dd9fd985e7683f562b818b3dd29c8394bc7c9"
            ),
            "train/cwe-787.jsonl.gz": (
                "a9a183f7d3ec66d457a0318a2407db068b599c3034133614606effc2dce8ce5a"
            ),
        },
        read=read_sven,
        roles=Roles(label="weaknesses", group="commit"),
        notes=(
            "716 pairs of a function before and after the commit that mended it, of 9 CWEs, about "
            "half Python and half C and C++ (He and Vechev, CCS 2023); 4 pairs that do not differ "
            "are left out. Split by commit: both sides of a pair stay together, and differ in a "
            "line or two. Models mostly stay at 50 to 60 % on such pairs; TF-IDF with logistic "
            "regression has an accuracy of 0.60. A function beyond 100,000 characters is refused."
        ),
    ),
    PublicDataset(
        name="owasp-benchmark-java",
        task="technology/code_analysis",
        source="https://github.com/OWASP-Benchmark/BenchmarkJava",
        licence="GPL-2.0",
        files={
            "testcases.jsonl.gz": (
                "14d06652714fc01653a168a8845d02fcd15440cc89a38a15e8d462c19f08121f"
            )
        },
        read=read_owasp,
        roles=Roles(label="weaknesses", group="category"),
        synthetic=True,
        notes=(
            "2,740 test cases in 11 categories, 1,415 vulnerable, written by a generator from "
            "templates. At random, near-duplicates lie on both sides and a bag of tokens has a "
            "Youden index of 0.95, which means nothing: a category is held out as a whole, so that "
            "the CWE of a test case is none that was trained on, and only whether any is given can "
            "be right."
        ),
    ),
    PublicDataset(
        name="smd",
        task="technology/performance_monitoring",
        source="https://github.com/NetManAIOps/OmniAnomaly and https://github.com/zhhlee/InterFusion",
        licence="MIT",
        files={
            "machine-1-6_test.parquet": (
                "50e16a0e7349e2f31ad38f09cb498a54070ff450844b48afd161261173f6d479"
            ),
            "machine-1-6_train.parquet": (
                "b23ba274582e78e42d26618342c3e3298b0fe29d47128d2bad12ce4dbc53fd3f"
            ),
            "machine-2-1_test.parquet": (
                "7c2facba45da8352d4c478b4611221bb10311bc8319c7be6e85b2327b87dea28"
            ),
            "machine-2-1_train.parquet": (
                "2ff3d11f45b8800286d2ea05ffd56dd186ba8a8de3868c81108e023a9e214141"
            ),
        },
        read=read_smd,
        roles=Roles(label="is_anomaly", time="time", group="machine"),
        settings=(
            "split.kind=time",
            "split.train=0.5",
            "split.validation=0.15",
            "split.calibration=0.1",
            "split.test=0.25",
        ),
        notes=(
            "Two of 28 servers, 94,764 minutes of 38 metrics that are scaled already: the first "
            "half without labels and taken as usual, 15.7 and 4.9 % of the second anomalous. "
            "Published VUS-PR of all 28 (TSB-AD): PCA 0.364, KMeansAD 0.358, CNN 0.353. "
            "Point-adjusted F1 says nothing: a random score wins it."
        ),
    ),
    PublicDataset(
        name="nab",
        task="technology/performance_monitoring",
        source="https://github.com/numenta/NAB",
        licence="MIT",
        files={
            "data/realKnownCause/machine_temperature_system_failure.csv.gz": (
                "17531d4083d4c566a0ca396092ac41fd8ac7df35656489cb7cab576169a18c96"
            ),
            "labels/combined_windows.json": (
                "1e1fbc4601321aad8d0f8b3784c8134299379f68f6c1f7777565f8ffd57ab6b1"
            ),
        },
        read=read_nab,
        roles=Roles(label="is_anomaly", time="time"),
        settings=(
            "split.train=0.5",
            "split.validation=0.25",
            "split.calibration=0.1",
            "split.test=0.15",
        ),
        notes=(
            "22,695 five-minute readings of the temperature of a large machine, the file of NAB "
            "that is long enough for four parts; four failures, each a window of two days. Other "
            "files have two weeks each, and steps of their own. Published VUS-PR over NAB "
            "(TSB-AD): POLY 0.484, Sub-PCA 0.436. The test part holds one failure, a fall to 33 of "
            "a temperature that is 89 otherwise: an isolation forest of window statistics has a "
            "VUS-PR of 1.00 on it, which says how easy that one is."
        ),
    ),
    PublicDataset(
        name="skab",
        task="technology/performance_monitoring",
        source="https://github.com/waico/SKAB",
        licence="GPL-3.0",
        files={
            "anomaly-free/anomaly-free.csv.gz": (
                "55f2788013ec57eaea229f2f25b18ee877e468348d9a1b809598a1878a71cbfe"
            ),
            "other/1.csv.gz": ("cb8a6ca0a45f3736240f45d83357da515910bede142cdec1dfcf867599acb02d"),
            "other/10.csv.gz": ("3643db4ff5692e33a7fcae78457c69a1cde52d00f51196aa644a56df52a60974"),
            "other/11.csv.gz": ("7886cd3e329d8484521d9d0489a80e5258b536166fa542106d85eea028bce545"),
            "other/12.csv.gz": ("eb06d0a4e1c06bd9f9dd7fe78abfa0635435f8f3c561e8ee598ba960053cb3a7"),
            "other/13.csv.gz": ("bb8ef237306fb2fc99e9d8dccea53989d06a19894327192d499977bf7570192d"),
            "other/14.csv.gz": ("4f4be503b12875ab332184cbe0691511bbac4b3f9a689b0b2667f115d6651869"),
            "other/2.csv.gz": ("483bfee790278ff49de46b2c090d16541a34ec06ae71d36138ab82910a5be536"),
            "other/3.csv.gz": ("d01c44476a97915a60f401be5cf12e83c18fb8ff92c9ad5afed3dca9460bb94e"),
            "other/4.csv.gz": ("369608eeb95c5999302f3deebfa7d55debeb073ca1f1f0032d9575cea18b72ff"),
            "other/5.csv.gz": ("7a9ccae286b6d9443bbb339dfee5a8eaf5bd54e38d7395db8d1ffd218e916805"),
            "other/6.csv.gz": ("bb38c984f019b273fd5139c876b7557b971ddcdc4d0887d607d1a08bc686024d"),
            "other/7.csv.gz": ("f8e7db3d51661c92eebd0010d29b299334aedf00b06c229946b83cb03b0e2fb2"),
            "other/8.csv.gz": ("6ea20c94f67df2f8aee8bfddaec7cdb6d25f5a663d6247aef323f0319ec2ae6c"),
            "other/9.csv.gz": ("4f5ecb21ad3973e053ae612b99d49502b74860699487677d222e8645fc25e6e0"),
            "valve1/0.csv.gz": ("77ff561bb17c28d47614ec0238002af4f3eb6ef45b6c11c330f4f75de43b5444"),
            "valve1/1.csv.gz": ("e9730312c2f9c7d35bfa1c4395a9375bad591d15651b35870dab6c2c82afc514"),
            "valve1/10.csv.gz": (
                "ba814403d9a956e6c9d22e178ca486c92b909e6800a314a4042984818a0a70ea"
            ),
            "valve1/11.csv.gz": (
                "f5c6db2ccd5d00078546c7ec209d36dc8381894ea7713c69e9926e7eb91ac0bd"
            ),
            "valve1/12.csv.gz": (
                "04620cde27017547728479f9a92365eb88dd7aa4ddeadab5f98f06ad325f0a41"
            ),
            "valve1/13.csv.gz": (
                "2bb82c6964dd4ac7b41415241ea80f4b3e983a9c39d93a69bdd2ec31c736e548"
            ),
            "valve1/14.csv.gz": (
                "f6e64d631be312284af9200ed8b679aa667895f1492c0d5f81a2b04c8cf4beef"
            ),
            "valve1/15.csv.gz": (
                "6ccaf3af61bd691a33461eb500de623e0a273e0af95787dfbae5f4fb15fd88ba"
            ),
            "valve1/2.csv.gz": ("e9a8629c2edc91641f86ead95fe1494e0144372245a3a10f20c9e73bf34b08e7"),
            "valve1/3.csv.gz": ("70757da22a0aa0cc775efcd4dd0c065b348c56678be30947b04842720399ed25"),
            "valve1/4.csv.gz": ("53da0c3df67934a7efe9163b040e8ee62f8997f0f1c9c1cccb8562ce00f6fd22"),
            "valve1/5.csv.gz": ("cf8eaac5bdc49cb74627994b71c0783346ffbdb348ba13ccb01898f9269ca8bf"),
            "valve1/6.csv.gz": ("a6e8d9e94ec05e398deccf58777fb8b8bb074969365cac370a7614a21e995678"),
            "valve1/7.csv.gz": ("08fc3abfc773d133d7d0a39e0a79c1e97d5760a63413b38f272171c79963c95e"),
            "valve1/8.csv.gz": ("261632e0c7cb169f417524461ec7eab03f1c8a924f3d205b028d1b1abaeda19c"),
            "valve1/9.csv.gz": ("2242ea89c7b963bd7ed56a4264b07867b662b632c979b5adcfc5f7d001798122"),
        },
        read=read_skab,
        roles=Roles(label="is_anomaly", time="time", group="run"),
        settings=("split.kind=group",),
        home="manufacturing",
        notes=(
            "42,494 seconds of 31 runs of a water circuit, 8 sensors; 35 % of 30 are anomalous. "
            "Whole runs are held out: the first 400 rows of each run, which the source trains on, "
            "are not used apart. F1 of train and test together, by the source: Conv-AE, MSET 0.78, "
            "T2+Q (PCA) 0.76, isolation forest 0.29."
        ),
    ),
)
