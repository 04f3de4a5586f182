"""Public data of code: metrics of classes and modules, comments, classes as they are written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile

import pyarrow as pa
import pyarrow.csv

from spt_core.artifacts import read_bytes
from spt_core.data.catalog.values import PublicDataset
from spt_core.data.corpus import Roles
from spt_core.signature import MAX_CHARACTERS

NASA_PROJECTS = ("CM1", "JM1", "KC1", "KC3", "MC1", "MC2", "PC1", "PC2", "PC3", "PC5")
DEBTS = {
    "WITHOUT_CLASSIFICATION": "none",
    "DESIGN": "design",
    "IMPLEMENTATION": "requirement",
    "DEFECT": "defect",
    "TEST": "test",
    "DOCUMENTATION": "documentation",
}
_SMELL_NAMES = {
    "repository": "project",
    "totalMethodsQty": "methods",
    "totalFieldsQty": "fields",
}
# Of a review, not of the class; what says who looked, when, and at which class.
_REVIEWS = ("id", "reviewer_id", "sample_id", "type", "code_name", "commit_hash", "path")
_LINES = ("start_line", "end_line", "is_from_industry_relevant_project")
_WORD = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[A-Za-z_$][A-Za-z_$0-9]*')
# The keywords and literals of Java SE 17 (JLS 3.9, 3.10), and types without a package.
JAVA_WORDS = frozenset(
    [
        *("abstract", "assert", "boolean", "break", "byte", "case", "catch", "char", "class"),
        *("const", "continue", "default", "do", "double", "else", "enum", "extends", "final"),
        *("finally", "float", "for", "goto", "if", "implements", "import", "instanceof", "int"),
        *("interface", "long", "native", "new", "package", "private", "protected", "public"),
        *("return", "short", "static", "strictfp", "super", "switch", "synchronized", "this"),
        *("throw", "throws", "transient", "try", "void", "volatile", "while", "true", "false"),
        *("null", "var", "record", "String", "Object", "Integer", "Boolean", "Override"),
    ]
)


def read_nasa(folder: str) -> pa.Table:
    """Modules of ten projects; a metric that a project did not measure is missing."""
    tables = [_arff(read_bytes(f"{folder}/{name}.arff.gz"), name) for name in NASA_PROJECTS]
    return pa.concat_tables(tables, promote_options="default")


def _arff(content: bytes, project: str) -> pa.Table:
    """One file: the names of its attributes, then its rows; the last one says Y or N."""
    head, _, data = gzip.decompress(content).decode().partition("@data")
    names = [name.lower() for name in re.findall(r"(?m)^@attribute\s+(\S+)", head)]
    rows = [line.split(",") for line in data.split() if line]
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    (label,) = (name for name in names if name.startswith(("defect", "label")))
    is_defective = [int(cell in ("Y", "true")) for cell in columns.pop(label)]
    numbers = {
        name: pa.array([None if c == "?" else float(c) for c in cells], pa.float64())
        for name, cells in columns.items()
    }
    return pa.table(
        {"project": [project] * len(rows), **numbers, "is_defective": pa.array(is_defective)}
    )


def read_smells(folder: str) -> pa.Table:
    """Reviews of classes for blobs and data classes, with the classes' metrics."""
    content = gzip.decompress(read_bytes(f"{folder}/class_smells.csv.gz"))
    table = pyarrow.csv.read_csv(io.BytesIO(content))
    return table.rename_columns([_SMELL_NAMES.get(name, name) for name in table.column_names])


def read_debt(folder: str) -> pa.Table:
    """Comments of ten projects and the debt that they admit, equal ones of a project once."""
    archive = zipfile.ZipFile(io.BytesIO(read_bytes(f"{folder}/technical_debt_dataset.zip")))
    content = archive.read("technical_debt_dataset.csv").decode(errors="replace")
    rows = csv.DictReader(io.StringIO(content, newline=""))
    seen = dict.fromkeys(
        (row["projectname"], row["classification"], row["commenttext"]) for row in rows
    )
    projects, kinds, texts = zip(*seen, strict=True)
    return pa.table(
        {"text": list(texts), "project": list(projects), "kind": [DEBTS[kind] for kind in kinds]}
    )


def read_patterns(folder: str) -> pa.Table:
    """Java classes of open projects and the pattern that they take part in.

    A class is cut where a request's text would be refused.
    """
    lines = gzip.decompress(read_bytes(f"{folder}/dpdf_code_train.jsonl.gz")).splitlines()
    rows = [json.loads(line) for line in lines]
    return pa.table(
        {
            "text": [row["code"][:MAX_CHARACTERS] for row in rows],
            "project": [row["project"] for row in rows],
            "pattern": [row["pattern"] for row in rows],
        }
    )


def read_masked_patterns(folder: str) -> pa.Table:
    """The same without names: each identifier as v1, v2, ... in its order, literals as they are."""
    table = read_patterns(folder)
    masked = [without_names(text) for text in table["text"].to_pylist()]
    return table.set_column(0, "text", pa.array(masked))


def without_names(code: str) -> str:
    """Java code with each name that is no word of the language as v1, v2, ...; no comments."""
    code = re.sub(r"(?s)/\*.*?\*/|//[^\n]*", " ", code)
    numbers: dict[str, str] = {}

    def masked(match: re.Match[str]) -> str:
        word = match.group()
        if word in JAVA_WORDS or word[0] in "\"'":
            return word if word[0] not in "\"'" else '""'
        return numbers.setdefault(word, f"v{len(numbers) + 1}")

    return _WORD.sub(masked, code)


_DPDF_FILES = {
    "dpdf_code_train.jsonl.gz": "1ebe98c7461597cf0c4a60727308ff514cab37385ae59596eba9d87d4b7c3a99"
}
_DPDF_SOURCE = "https://github.com/ilyesrezgui/Attention-based-Method-for-Design-Pattern-Detection"
_DPDF_LICENCE = "none stated; classes of open source projects: research use until cleared"

DATASETS: tuple[PublicDataset, ...] = (
    PublicDataset(
        name="nasa-mdp-defects",
        task="technology/defect_prediction",
        source="https://github.com/klainfo/NASADefectDataset",
        licence="NASA, public; the repository states none",
        files={
            f"{name}.arff.gz": checksum
            for name, checksum in {
                "CM1": "34df9ba7712ad02c334f680f55ee0206b74bb38c00e341e5728eb302228781fd",
                "JM1": "fece420503b5ed2708a9c57e4bffb090bc2bd60ba3cc5873392f3c726487419d",
                "KC1": "ebac35a5cd52c3a43602549ffc9fb61f5bc1a60d7786ab6715f3a83b6e9aa87f",
                "KC3": "49edd5ebe8b6a374faf3e5163e56238f690e00d537110dedb3df753601223cdb",
                "MC1": "ad29fc5c2c969e420f7a1caad3a7f903dd9de021b420b45a5734f6bcc31c2cfb",
                "MC2": "f7b598e49ec091b11d90f10a3608a87328dd73a674f1d8488be9499da4eacb08",
                "PC1": "d702587103c6d5955fd9a82610b8ad9cbc8b81edee1ec217d63704ae9b225e92",
                "PC2": "23f963bb14aa9bbb437451a7907782741f89b020a9b36dde725c1119c3cae8c7",
                "PC3": "d41f543f181b26d2558a37e8269003b9ecd55b3d6d30d404d1bc08b245ac1ac9",
                "PC5": "c9254b97397810b2566613f250fccf332a2ad7eb1594ea130dbd3af9a83cb6ff",
            }.items()
        },
        read=read_nasa,
        roles=Roles(label="is_defective", drop=("project",)),
        notes=(
            "15,627 modules of ten projects of NASA, 17 % with a defect (the cleaned D'' of "
            "Shepperd et al., 2013). Half of the rows are of one project (JM1), and projects "
            "measured different metrics: what one lacks is missing. Split at random: across "
            "projects a model does worse. Forests reach an AUC of 0.71 (JM1) to 0.87 (PC1) within "
            "one project."
        ),
    ),
    PublicDataset(
        name="mlcq-code-smells-ck",
        task="technology/code_smells",
        source="https://github.com/KamruzzamanAsif/MLCQ",
        licence="CC BY 4.0 (MLCQ), Apache-2.0 (metrics)",
        files={
            "class_smells.csv.gz": (
                "db5f3192ded2ec5cae114caf36cc6eb97a9b1e51fde902d1c3b2bc55486dea81"
            )
        },
        read=read_smells,
        roles=Roles(label="severity", group="project", drop=(*_REVIEWS, *_LINES)),
        settings=("split.seed=115",),  # of those tried, every part has five of every severity
        notes=(
            "450 reviews of classes for a blob or a data class, 74 % none, 26 critical: few, by "
            "several reviewers who agree moderately. Split by repository. Forests tell any blob or "
            "data class with an AUC of 0.85."
        ),
    ),
    PublicDataset(
        name="satd-maldonado",
        task="technology/technical_debt",
        source="https://github.com/maldonado/tse.satd.data",
        licence="none stated; a published replication package: research use until cleared",
        files={
            "technical_debt_dataset.zip": (
                "d67fa276b618f78797a0b124e0345e1978c975637f8cc84dba1fad4a5ff08472"
            )
        },
        read=read_debt,
        roles=Roles(label="kind", group="project"),
        settings=("split.seed=62",),  # of those tried, every part has every kind, and its size
        notes=(
            "39,037 comments of ten Java projects, 8.5 % admit debt: of the 62,275 those that "
            "repeat in a project are left out but for one. Split by project: six train, and one to "
            "three are in each other part. Published F1: 0.62 for design "
            "(maximum entropy, 2017), 0.77 for any debt (a convolution, 2019); TF-IDF with "
            "logistic regression 0.75 for any. A search for todo, fixme, hack and xxx is a strong "
            "baseline."
        ),
    ),
    PublicDataset(
        name="design-patterns-dpdf",
        task="technology/architecture_analysis",
        source=_DPDF_SOURCE,
        licence=_DPDF_LICENCE,
        files=_DPDF_FILES,
        read=read_patterns,
        roles=Roles(label="pattern", group="project"),
        notes=(
            "739 Java classes of open projects with one of 12 patterns or None (97); those "
            "beyond 100,000 characters are cut. The name of "
            "the class, and so its code, holds the pattern's word in 88 %: see "
            "design-patterns-dpdf-masked beside it. Split by project: published figures of about "
            "0.8 are of random folds, which mix a project's classes; TF-IDF reaches an accuracy of "
            "0.65 there and 0.36 on projects that it has not seen."
        ),
    ),
    PublicDataset(
        name="design-patterns-dpdf-masked",
        folder="design-patterns-dpdf",
        task="technology/architecture_analysis",
        source=_DPDF_SOURCE,
        licence=_DPDF_LICENCE,
        files=_DPDF_FILES,
        read=read_masked_patterns,
        roles=Roles(label="pattern", group="project"),
        notes=(
            "The classes of design-patterns-dpdf without comments, names and texts: what is left "
            "is how a class is built, and is all that says that a model sees more than a name."
        ),
    ),
)
