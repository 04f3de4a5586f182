"""A teacher of a table under differential privacy: private encodings and one network by DP-SGD.

training rows -> encodings (a stated share of epsilon) -> DP-SGD (the rest) -> the last weights

Epsilon and delta hold for the model's files, and for all that is made of them without the training
rows: its answers, its students, their exports. Two training parts that differ in one row, or in all
rows of one group, give any such result with probabilities that differ by a factor of e^epsilon at
most, but for delta; the other parts are the same in both. Nothing here reads training rows beside
what is counted: there are no forests, whose splits nobody counts, no folds, and no early stopping.
Calibration and thresholds are of other rows, which it does not protect: `NOT_PROTECTED` says so
wherever the guarantee is shown.

Budget: delta = delta' + e^epsilon * delta_c, where delta' is the accountant's, and delta_c bounds
that a category of one row alone becomes known. For with the names of those left out, the releases
are (epsilon, delta')-indistinguishable, and leaving them out changes a probability by delta_c.
"""

from __future__ import annotations

import dataclasses
import json
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
from numpy.typing import NDArray
from safetensors.torch import load as load_weights

from spt_core.artifacts import (
    WEIGHTS,
    ModelArtifact,
    Role,
    as_uri,
    filesystem,
    has_manifest,
    read_bytes,
    read_manifest,
    write_bytes,
    write_manifest,
)
from spt_core.data.corpus import HASH, ROW
from spt_core.data.read import Dataset
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.tabular.ensemble import BLEND, FORESTS, NETWORK, network_said
from spt_core.families.tabular.learner import LEARNER, SCORING_ROWS, row_bytes
from spt_core.families.tabular.outputs import DECISION
from spt_core.families.tabular.private_encoding import (
    edge_arrays,
    encoding_plan,
    private_encoding,
)
from spt_core.families.tabular.rows import encoded_arrays, encoded_dataset, part_tables
from spt_core.families.tabular.settings import is_searched
from spt_core.families.tabular.teaching import HELD_OUT_ROWS, TableTeaching, validation_metrics
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import FitPlan, Trained, TrainingRun
from spt_core.fitting.privacy import PrivacyConfig, PrivateSteps
from spt_core.fitting.randomness import SOURCE
from spt_core.plain import from_plain
from spt_core.signature import Signature, signature_from_json
from spt_core.task import find

ENCODING = "encoding"
BUDGETS = "privacy"  # a folder with a file for each private training, by the data's fingerprint
CATEGORY_SHARE = 0.1  # of delta, for categories of one row alone
KINDS = ("number", "category", "boolean", "time", "number_pair", "entity")
NOT_PROTECTED = (
    "validation and calibration rows, whose labels choose the student's epoch, the calibration and "
    "the thresholds",
    "test rows, which the report's figures and subgroups are of",
    "how many rows and positives each part has, and fingerprints of all rows, in manifests, "
    "registry and report: whoever holds all other rows learns from those whether one is among them",
    "what the columns are: names, kinds, notations and the label's values, as a sample of all rows "
    "shows them, and the findings on them",
    "how rows were dealt to the parts: the moments of a split by time, where few groups went, and "
    "which later rows were left out as identical to a training row",
    "the splits and the run's files in storage, which hold the rows themselves",
    "what rounding of floats gives away (Mironov 2012), which is made hard and not impossible",
    "what else is made of the same rows: budgets add up, and a model without privacy has none",
)
_MORE = "more or less, and all other parts the same"
NOTES = (
    "privacy: no forests, no blends, no folds and no refit on more rows, which would read training "
    "rows outside the budget; the last weights are kept, and validation rows stop nothing",
)


def table_teaching(
    splits: Splits, config: TrainingConfig, twin: ModelArtifact | None = None
) -> FitPlan:
    """The FitPlan of a table's teacher, with differential privacy where it is asked for."""
    if config.privacy is None:
        return TableTeaching(splits, config, twin)
    return PrivateTableTeaching(splits, config, config.privacy)


class PrivateTableTeaching:
    """The FitPlan of a private teacher; what it has released once, it never releases again."""

    role: Role = "teacher"
    scratch: Sequence[str] = (ENCODING,)

    def __init__(self, splits: Splits, config: TrainingConfig, privacy: PrivacyConfig) -> None:
        self._splits, self._config, self._privacy = splits, config, privacy
        self._task = find(splits.task)
        _check(splits, privacy)
        self._kept = one_row_per_group(splits)
        self._num_rows = splits.num_rows["train"] if self._kept is None else len(self._kept)
        if not self._num_rows:
            raise InputError(
                f"rows of a private training must name their group, however: all of "
                f"{splits.corpus.group!r} are empty"
            )
        size_bytes = self._num_rows * row_bytes(len(splits.signature.columns))
        if size_bytes > config.cache_bytes:
            raise InputError(
                "rows of a private training must be held in memory, where each is drawn by itself, "
                f"however: {self._num_rows:,} rows take more than cache_bytes "
                f"({config.cache_bytes:,})"
            )
        self._delta = privacy.delta_of(self._num_rows)
        self.identity: Sequence[Any] = ["private", splits.signature.to_json()]

    def prepare(self, name: str) -> TrainingRun:
        """The run on encodings that are bought once: a run that goes on finds them in storage."""
        config = self._config
        folder = f"{as_uri(config.output_dir)}/runs/{name}-{ENCODING}"
        if not has_manifest(folder):
            write_manifest(folder, json.loads(json.dumps(self._released())))
        released = read_manifest(folder)
        signature = signature_from_json(released["signature"])
        self._facts = released["privacy"]
        self._run = TrainingRun(
            learner=LEARNER,
            signature=signature,
            role=self.role,
            config=config,
            facts=released["facts"],
            num_rows=self._num_rows,
            row_bytes=row_bytes(len(signature.columns)),
            scoring_rows=SCORING_ROWS,
            head=self._task.head,
            private=_steps(released["steps"]),
        )
        return self._run

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """Encoded rows; of training, one of each group."""
        kept = self._kept if part == "train" else None
        return encoded_dataset(self._splits, part, self._run.signature, DECISION, rows=kept)

    def finish(self, weights: bytes) -> Trained:
        """The network alone, calibrated on calibration rows."""
        run, output = self._run, DECISION.output
        network = LEARNER.network(run)
        network.load_state_dict(load_weights(weights))

        def said(part: Literal["validation", "calibration"]) -> tuple[Any, Any]:
            features, targets = encoded_arrays(
                self._splits, part, run.signature, DECISION, limit=HELD_OUT_ROWS
            )
            return output.logits(network_said(network, features, output)), targets.astype(float)

        logits, targets = said("calibration")
        calibration = output.calibration(logits, targets, DECISION)
        logits, targets = said("validation")
        scores = output.calibrated(logits, calibration)
        shares = {NETWORK: 1.0, **dict.fromkeys(FORESTS, 0.0)}
        blend = {"weights": shares, "calibration": calibration}
        return Trained(
            {WEIGHTS: weights, BLEND: json.dumps(blend).encode()},
            validation_metrics(self._task, DECISION, targets, scores),
            notes=NOTES,
            privacy=self._facts,
        )

    def _released(self) -> dict[str, Any]:
        """Encodings, the steps that the rest of the budget pays for, and what to say of both."""
        from spt_core.fitting.accounting import (  # Opacus is an extra
            ACCOUNTANT,
            noise_for,
            private_steps,
            release_of,
            rho_of,
            spent,
        )

        config, privacy, splits = self._config, self._privacy, self._splits
        epsilon, num_bins = privacy.epsilon, config.network.num_bins
        assert epsilon is not None, "a private configuration has an epsilon"
        of_categories = CATEGORY_SHARE * self._delta * math.exp(-epsilon)
        of_releases = (1 - CATEGORY_SHARE) * self._delta
        share = privacy.encoding_share * epsilon
        noise = noise_for(share, of_releases, lambda noise: [(noise, 1.0, 1)])
        plan = encoding_plan(
            splits.signature,
            _ranges(splits.signature, privacy),
            num_rows=self._num_rows,
            num_bins=num_bins,
            rho=rho_of(noise),
            delta=of_categories,
        )
        released = (release_of(plan.rho),) if plan.rho else ()
        steps = private_steps(
            epsilon,
            of_releases,
            num_rows=self._num_rows,
            batch_size=config.batch_size,
            num_epochs=config.num_epochs,
            max_grad_norm=privacy.max_grad_norm,
            released=released,
        )
        total = self._entered(epsilon)
        signature, facts = private_encoding(
            plan, splits.signature, self._tables(), max_categories=config.domain_vocabulary_size
        )
        edges = edge_arrays(facts.pop("edges"), num_bins)
        return {
            "signature": signature.to_json(),
            "facts": {**edges, **facts, **DECISION.to_json(), "is_private": True},
            "steps": dataclasses.asdict(steps),
            "privacy": {
                "epsilon": spent(steps.history, of_releases),
                "epsilon_asked": epsilon,
                **({"caution": privacy.caution} if privacy.caution else {}),
                "delta": self._delta,
                **total,
                **self._unit(),
                "accountant": f"{ACCOUNTANT} (Mironov 2017), Opacus {_version()}",
                "num_rows": self._num_rows,
                "network": {
                    "mechanism": "DP-SGD (Abadi et al. 2016), Poisson sampling",
                    "noise_multiplier": steps.noise_multiplier,
                    "sampling_rate": steps.sampling_rate,
                    "steps": steps.steps,
                    "max_grad_norm": steps.max_grad_norm,
                },
                "encodings": {
                    **plan.facts(),
                    "epsilon_alone": spent(released, of_releases),
                    "public_ranges": sorted(_ranges(splits.signature, privacy)),
                    "delta_of_releases": of_releases,
                },
                "randomness": SOURCE,
                "not_protected": list(NOT_PROTECTED),
            },
        }

    def _entered(self, epsilon: float) -> dict[str, Any]:
        """This training beside all others of the same data in the storage, by basic composition.

        It is entered before a row is read, and stays whatever becomes of the run: who trains until
        a model pleases has spent what all of them did.
        """
        folder = f"{as_uri(self._config.output_dir)}/{BUDGETS}/{self._splits.data_fingerprint}"
        release = secrets.token_hex(8)
        entry = {"epsilon": epsilon, "delta": self._delta}
        write_bytes(f"{folder}/{release}.json", json.dumps(entry).encode())
        files, path = filesystem(folder)
        infos = files.get_file_info(pafs.FileSelector(path))
        names = [info.base_name for info in infos if info.base_name.endswith(".json")]
        entries = [json.loads(read_bytes(f"{folder}/{name}")) for name in names]
        return {
            "release": release,
            "all_trainings": {
                "of": "the same data in this storage, this one included, whether kept or not",
                "trainings": len(entries),
                **{name: sum(each[name] for each in entries) for name in entry},
            },
        }

    def _unit(self) -> dict[str, str]:
        """Who is protected, under which neighbouring relation."""
        group = self._splits.corpus.group
        if group is None:
            who = (
                "each row of the training part; whoever has k rows, at k times epsilon and "
                "k e^((k - 1) epsilon) times delta"
            )
            return {"unit": "row", "neighbours": f"one training row {_MORE}", "protected": who}
        left_out = self._splits.num_rows["train"] - self._num_rows
        who = (
            f"all training rows of one {group}: one row of each is learnt from, {left_out:,} "
            "others are left out"
        )
        neighbours = f"all training rows of one {group} {_MORE}"
        return {"unit": f"group {group}", "neighbours": neighbours, "protected": who}

    def _tables(self) -> Iterator[pa.Table]:
        for table in part_tables(self._splits, "train"):
            if self._kept is None:
                yield table
            else:
                yield table.filter(pa.array(np.isin(np.asarray(table[ROW]), self._kept)))


def one_row_per_group(splits: Splits) -> NDArray[np.int64] | None:
    """The numbers of the training rows that are learnt from; None takes all, where nobody groups.

    Of each group it is the row of the least hash, which no other group's rows have a say in; rows
    without a group are left out.
    """
    group = splits.corpus.group
    if group is None:
        return None
    columns = [table.select([group, HASH, ROW]) for table in part_tables(splits, "train")]
    rows: Any = pa.concat_tables(columns).to_pandas()  # pandas' stubs do not know the columns
    rows = rows[rows[group].notna()].sort_values([HASH, ROW]).drop_duplicates(group)
    return np.sort(rows[ROW].to_numpy(np.int64))


def student_facts(teacher: ModelArtifact, num_rows: int) -> dict[str, Any]:
    """What is said of a private teacher's student, which spends nothing."""
    text = (
        f"learnt from {num_rows:,} artificial rows, drawn from the private encodings and answered "
        "by the private teacher: no training row, and nothing spent"
    )
    return {**teacher.privacy, "student": text}


def _check(splits: Splits, privacy: PrivacyConfig) -> None:
    """Refuse what would read training rows outside the budget, or rows that are not one's own."""
    task, corpus, signature = find(splits.task), splits.corpus, splits.signature
    refusals = {
        "be decisions": task.head != "binary" and f"{task.path} has the head {task.head!r}",
        "stand for themselves": corpus.weight is not None and f"data.weight={corpus.weight}",
        "hold what one row says": bool(signature.windows)
        and f"{signature.windows[0].name} looks at others",
        f"have fields of the kinds {', '.join(KINDS)}": next(
            (f"{f.name} is of {f.kind}" for f in signature.fields if f.kind not in KINDS), False
        ),
        "not be kept to search settings among": is_searched(signature) and "a field is settable",
    }
    for rule, fact in refusals.items():
        if fact:
            raise InputError(f"rows of a private training must {rule}, however: {fact}")
    for name in privacy.public_ranges():
        if signature.field(name).kind not in ("number", "number_pair"):
            raise InputError(
                "privacy.ranges must name numbers, however: "
                f"{name!r} is of the kind {signature.field(name).kind}"
            )


def _ranges(signature: Signature, privacy: PrivacyConfig) -> Mapping[str, tuple[float, float]]:
    """What is public of numbers: what the task states of its fields, and what the user does."""
    stated = {
        field.name: (field.minimum, field.maximum)
        for field in signature.fields
        if field.minimum is not None
        and field.maximum is not None
        and field.minimum < field.maximum
        and field.kind in ("number", "number_pair")
    }
    return {**stated, **privacy.public_ranges()}


def _steps(content: Mapping[str, Any]) -> PrivateSteps:
    steps = from_plain(PrivateSteps, {**content, "released": ()})
    released = tuple((float(n), float(r), int(t)) for n, r, t in content["released"])
    return dataclasses.replace(steps, released=released)


def _version() -> str:
    import opacus

    return opacus.__version__
