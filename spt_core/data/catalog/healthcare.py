"""Public data of hospitals, pharmacies and drug safety teams."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa

from spt_core.artifacts import read_bytes
from spt_core.data.catalog import clinical
from spt_core.data.catalog.values import PublicDataset
from spt_core.data.corpus import Roles
from spt_core.images import png

UNTYPED = "int"  # stated without more, as the one interaction whose type was left out


def read_ddi(folder: str) -> pa.Table:
    """Sentences with at least one pair of drug mentions, the mentions and the pairs that interact.

    A mention in pieces ("loop ... diuretics") goes from its first to its last character.
    """
    archive = zipfile.ZipFile(io.BytesIO(read_bytes(f"{folder}/DDICorpus-2013-Train.zip")))
    rows = [
        row
        for name in sorted(archive.namelist())
        for row in _sentences(ElementTree.fromstring(archive.read(name)))
    ]
    return pa.Table.from_pylist(rows)


def read_pneumonia(folder: str) -> pa.Table:
    """The official training and validation images as PNG, with their findings."""
    content = io.BytesIO(read_bytes(f"{folder}/pneumoniamnist_trainval.npz"))
    images: list[bytes] = []
    findings: list[str] = []
    with np.load(content, allow_pickle=False) as arrays:
        for part in ("train", "val"):
            images += [png(pixels) for pixels in arrays[f"{part}_images"]]
            is_ill = arrays[f"{part}_labels"].ravel().tolist()
            findings += [json.dumps(["pneumonia"] if ill else []) for ill in is_ill]
    return pa.table({"image": pa.array(images, pa.large_binary()), "findings": findings})


# Of Presidio's types, what is an identifier of Safe Harbor; a title or a nationality is none.
PRESIDIO_TYPES: Mapping[str, str] = {
    "PERSON": "name",
    "ORGANIZATION": "name",  # an employer's is among those that Safe Harbor names
    "STREET_ADDRESS": "location",
    "GPE": "location",
    "ZIP_CODE": "location",
    "DATE_TIME": "date",
    "AGE": "date",
    "PHONE_NUMBER": "phone",
    "EMAIL_ADDRESS": "email",
    "DOMAIN_NAME": "url",
    "IP_ADDRESS": "ip_address",
    "US_SSN": "ssn",
    "CREDIT_CARD": "account",
    "IBAN_CODE": "account",
    "US_DRIVER_LICENSE": "license",
}


def identifier_of(kind: str, value: str) -> str | None:
    """The identifier of Safe Harbor that a value of one of Presidio's types is; None if it is none.

    A year alone is none, nor is an age up to 89.
    """
    if kind == "DATE_TIME" and re.fullmatch(r"(?:19|20)\d{2}", value.strip()):
        return None
    if kind == "AGE" and int(re.sub(r"\D", "", value) or 0) < 90:
        return None
    return PRESIDIO_TYPES.get(kind)


def read_presidio(folder: str) -> pa.Table:
    """Synthetic texts with the template that each was filled from, and their identifiers."""
    rows = json.loads(gzip.decompress(read_bytes(f"{folder}/synth_dataset_v2.json.gz")))
    return pa.table(
        {
            "text": [row["full_text"] for row in rows],
            "template": [f"template-{row['template_id']:03d}" for row in rows],
            "identifiers": [json.dumps(_identifiers(row["spans"])) for row in rows],
        }
    )


def _identifiers(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"start": span["start_position"], "end": span["end_position"], "label": label}
        for span in sorted(spans, key=lambda span: span["start_position"])
        if (label := identifier_of(span["entity_type"], span["entity_value"])) is not None
    ]


def _sentences(document: ElementTree.Element) -> Iterator[dict[str, str]]:
    for sentence in document.iter("sentence"):
        pairs = sentence.findall("pair")
        if not pairs:
            continue
        mentions = sentence.findall("entity")
        number = {mention.attrib["id"]: i for i, mention in enumerate(mentions)}
        related = [
            [*sorted((number[pair.attrib["e1"]], number[pair.attrib["e2"]])), _type_of(pair)]
            for pair in pairs
            if pair.attrib["ddi"] == "true"
        ]
        yield {
            "text": sentence.attrib["text"],
            "document": document.attrib["id"],
            "spans": json.dumps([_span(mention) for mention in mentions]),
            "interactions": json.dumps(related),
        }


def _type_of(pair: ElementTree.Element) -> str:
    return pair.attrib.get("type", UNTYPED)


def _span(mention: ElementTree.Element) -> dict[str, int | str]:
    places = [place.split("-") for place in mention.attrib["charOffset"].split(";")]
    start, last = int(places[0][0]), int(places[-1][1])  # the last character, not the one behind it
    return {"start": start, "end": last + 1, "label": mention.attrib["type"]}


DATASETS: tuple[PublicDataset, ...] = (
    *clinical.DATASETS,
    PublicDataset(
        name="ddi-corpus-2013",
        task="healthcare/drug_interaction_detection",
        source="https://github.com/isegura/DDICorpus",
        licence="CC BY-NC 4.0",
        files={
            "DDICorpus-2013-Train.zip": (
                "be7ba24b326350e81f46edc49e0ac570109c5310aaf4d78189a8da6ece1c8434"
            )
        },
        read=read_ddi,
        roles=Roles(label="interactions", group="document"),
        notes=(
            "The training split of SemEval-2013 task 9: 714 documents of DrugBank and MedLine, "
            "3,789 sentences with 27,792 pairs of drug mentions, of which 4,021 interact (1,687 "
            "effect, 1,319 mechanism, 826 advise, 189 int; one pair has no type and counts as "
            "int). 38 mentions in pieces go from their first to their last character. Split by "
            "document. Not for commercial use. Micro-F1 over the four types: 0.65 the winner of "
            "2013, about 0.80 BERT-size models, both on the official test split; TF-IDF with "
            "logistic regression 0.52 by document."
        ),
    ),
    PublicDataset(
        name="imaging-pneumoniamnist",
        task="healthcare/medical_imaging",
        source="https://github.com/MedMNIST/MedMNIST",
        licence="CC BY 4.0",
        files={
            "pneumoniamnist_trainval.npz": (
                "d0bcca702a1b2df1725dfb8bc438e6f5d7904627b901c631b920c58ffa216c10"
            )
        },
        read=read_pneumonia,
        roles=Roles(label="findings"),
        notes=(
            "5,232 chest films of children, 28 x 28 px (MedMNIST v2, of Kermany et al. 2018): "
            "3,883 with pneumonia, 1,349 without. Patients are not told, so that the split is at "
            "random and images of one patient may lie on both sides; those that look alike are "
            "left out. "
            "Logistic regression on pixels reaches an AUC of 0.984, the frozen features of "
            "photographs 0.961."
        ),
        settings=(
            "training.network.size_px=64",
            "training.num_epochs=4",
            "distillation.training.network.size_px=64",
            "distillation.training.num_epochs=4",
            "distillation.num_copies=1",
        ),
    ),
    PublicDataset(
        name="phi-presidio-synth",
        task="healthcare/hipaa_compliance",
        source="https://github.com/microsoft/presidio-research",
        licence="MIT",
        files={
            "synth_dataset_v2.json.gz": (
                "332426b8faee784eacffd146d00504c48d72d32d66a81c08100ece1fa33a196b"
            )
        },
        read=read_presidio,
        roles=Roles(label="identifiers", group="template"),
        synthetic=True,
        notes=(
            "1,500 short texts that Presidio's team made of 209 templates (synth_dataset_v2), none "
            "of them clinical. Of 17 types, titles and nationalities are no identifiers of Safe "
            "Harbor, nor are years alone and ages up to 89; organizations count as names, since an "
            "employer's is one, and countries as places, which the source does not tell apart. "
            "Medical record and plan numbers, vehicles, devices, biometrics, photographs and fax "
            "numbers are not in it. Split by template: at random, texts of one template would lie "
            "on both sides. On 210 rows of 29 held-out templates (bench_phi, strict, intervals by "
            "template) the served model had a span F1 of 0.505 [0.366, 0.646], Presidio 0.429 "
            "[0.333, 0.559], 0.440 with organizations as names: the intervals overlap, so that "
            "neither is shown to be better. Its recall was 0.50 of names and 0.29 of phones (of "
            "these before the patterns safe-harbor-3): every second name stays in the text, and a "
            "person must look at each."
        ),
    ),
)
