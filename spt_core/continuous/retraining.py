"""What a retraining trains on: the trigger's publications, labelled, beside replayed old rows.

items -> Labeled (human > official taxonomy > weak rules) -> Mixture -> Splits

A bucket is named after the model that it retrains: `industry.task`, or `industry.task.model_name`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.artifacts import ExportedModel, read_bytes
from spt_core.continuous.ledger import Item, Ledger, Retrain
from spt_core.continuous.ledger.values import canonical
from spt_core.continuous.weak_labels import LabelingRule, measured, vote
from spt_core.data.corpus import HASH
from spt_core.data.hashing import text_hash, uniform
from spt_core.data.labels import Context, names_of, read_label, rule_of
from spt_core.data.replay import conformed, held_out_hashes, replayed
from spt_core.data.splits import Splits
from spt_core.errors import CorruptArtifactError, InputError, NotFoundError
from spt_core.policy import Policy
from spt_core.registry import DEFAULT_MODEL_NAME
from spt_core.task import Task, Tracker, find, labels_publications
from spt_core.validation import validated

LabelSource = Literal["human", "taxonomy", "weak", ""]
MIN_HELD_OUT = 30  # publications; fewer judge nothing
_YOUNGER = ("classes", "notes", "controllable", "seen", "goal")
LONGEST_TEXT = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RetrainConfig:
    """How a bucket is retrained.

    Args:
        recipe: a recipe's name; "" trains as the champion was trained.
        assignments: configuration fields, as `--set` takes them.
        replay_share: the share of old rows in the training rows, at least.
        max_replay_rows: old rows at most.
        held_out_share: of publications that a person or the taxonomy labelled, the share that is
            kept to judge by.
        min_confidence: below it a weak label is none.
        rules: labeling rules beside the task's own.
        taxonomy: what a source files an item under -> the label that it means.
        mlm_steps: steps of masked-language-model training on the new texts and old ones; 0: none.
        max_new_tokens: terms at most that get a token of their own; 0: none.
        min_term_uses: uses in the new texts below which a term gets none.
        slices: columns of the evaluation set whose groups are judged by themselves, and
            `class:NAME` for a class.
        trackers: experiment trackers that follow it, beside those that the environment names.
    """

    recipe: str = ""
    assignments: tuple[str, ...] = ()
    replay_share: float = 0.5
    max_replay_rows: int = 20_000
    held_out_share: float = 0.2
    min_confidence: float = 0.7
    rules: tuple[LabelingRule, ...] = ()
    taxonomy: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    mlm_steps: int = 40
    max_new_tokens: int = 20
    min_term_uses: int = 5
    slices: tuple[str, ...] = ()
    trackers: tuple[Tracker, ...] = ()

    def __post_init__(self) -> None:
        """Refuse shares and counts that make no training set."""
        if not 0.5 <= self.replay_share < 1 or not 0 <= self.held_out_share < 1:
            raise InputError(
                "replay_share must be in [0.5, 1) and held_out_share in [0, 1), however: "
                f"{self.replay_share}, {self.held_out_share}"
            )
        if not 0 < self.min_confidence < 1 or self.max_replay_rows < 1 or self.min_term_uses < 1:
            raise InputError(
                "min_confidence must be in (0, 1), max_replay_rows and min_term_uses at least 1, "
                f"however: {self.min_confidence}, {self.max_replay_rows}, {self.min_term_uses}"
            )
        if self.mlm_steps < 0 or self.max_new_tokens < 0:
            raise InputError(
                "mlm_steps and max_new_tokens must be at least 0, however: "
                f"{self.mlm_steps}, {self.max_new_tokens}"
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `retrain_config` reads back."""
        return dataclasses.asdict(self)


class Labeled(NamedTuple):
    """A publication as a text, its canonical label (None: none was found) and who says so."""

    item: Item
    text: str
    label: str | None
    by: LabelSource
    why: str


class Mixture(NamedTuple):
    """What is trained on and judged by: rows of all columns, and where they come from."""

    train: pa.Table
    held_out: pa.Table
    facts: Mapping[str, Any]


def retrain_config(content: Mapping[str, Any]) -> RetrainConfig:
    """The configuration that a bucket's `retraining` object holds; InputError names what is odd."""
    return validated(RetrainConfig, content, "a bucket's retraining")


def model_of(bucket: str) -> str:
    """The registry's name of the model that a bucket retrains."""
    parts = bucket.split(".")
    if len(parts) not in (2, 3) or not all(parts):
        raise InputError(
            "a bucket that retrains a model is named INDUSTRY.TASK or INDUSTRY.TASK.MODEL_NAME, "
            f"however: {bucket!r}"
        )
    return "/".join(parts if len(parts) == 3 else [*parts, DEFAULT_MODEL_NAME])


def task_of(bucket: str) -> Task:
    """The bucket's task, if publications can train it."""
    task = find(model_of(bucket).rpartition("/")[0])
    if not labels_publications(task):
        raise InputError(
            "publications train tasks on whole texts (single_label, multi_label, ordinal), "
            f"however: {task.path} is {task.family}, {task.head}"
        )
    return task


def of_submission(ledger: Ledger, submission_id: str) -> Retrain:
    """The retraining whose present attempt this is."""
    for retrain in ledger.retrains():
        if retrain.submission_id == submission_id:
            return retrain
    raise NotFoundError(
        f"a submission must be a retraining's present attempt, however: {submission_id!r} is none"
    )


def pinned_items(ledger: Ledger, retrain: Retrain) -> list[Item]:
    """The retraining's items, if they are those that its trigger named, with the same content."""
    items = ledger.items(trigger_id=retrain.retrain_id)
    entry = next(ledger.audit(after=retrain.audit_seq - 1))
    expected = [list(row) for row in entry.body["items"]]
    actual = sorted([*item.ref, item.content_sha] for item in items)
    if actual != expected:
        raise CorruptArtifactError(
            f"the items of {retrain.retrain_id!r} must be those of its manifest, however: "
            f"{len(actual)} are there and {len(expected)} were pinned, or their content differs"
        )
    return items


def candidate_sha(exported: ExportedModel, policy: Policy) -> str:
    """What an approval is for: sha256 over the candidate's files, lineage and decision policy."""
    content = _as_before(json.loads(json.dumps([exported.to_json(), policy.to_json()])))
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def _as_before(content: Any) -> Any:
    """The content without keys that are younger than approvals, where they say nothing.

    An approval names a hash: it holds for the same model read by younger code.
    """
    if isinstance(content, dict):
        pairs = cast(dict[str, Any], content).items()
        return {k: _as_before(v) for k, v in pairs if not _is_silent(k, v)}
    if isinstance(content, list):
        return [_as_before(each) for each in cast(list[Any], content)]
    return content


def _is_silent(name: str, value: Any) -> bool:
    return name in _YOUNGER and not value or name == "kind" and value in ("labels", "decision")


def text_of(item: Item) -> str:
    """Title and text, as a model reads them."""
    text = item.text or (read_bytes(item.text_uri).decode() if item.text_uri else "")
    if text.startswith(item.title):
        return text[:LONGEST_TEXT].strip()
    separator = "" if item.title.endswith((".", "!", "?", ":")) or not text else "."
    return f"{item.title}{separator} {text}".strip()[:LONGEST_TEXT]


def labeled(
    task: Task, items: Iterable[Item], splits: Splits, config: RetrainConfig
) -> list[Labeled]:
    """Each item as a text with the best label there is: a person's, the source's, the rules'."""
    own = task.label_patterns.items()  # rules teach no class that no row has been labelled with
    rules = [LabelingRule(label=k, pattern=p) for k, p in own if k in splits.classes]
    rules = measured([*rules, *config.rules], _labeled_rows(task, splits, config))
    return [_labeled(task, item, config, rules) for item in items]


def rewritten(
    publications: Sequence[Labeled], rewrite: Callable[[str], tuple[str, Mapping[str, int]]]
) -> tuple[list[Labeled], dict[str, int]]:
    """The publications with other texts, and how much of each type was replaced in them.

    Labels are those of the texts as they were published.
    """
    replaced: Counter[str] = Counter()
    changed: list[Labeled] = []
    for one in publications:
        text, counts = rewrite(one.text)
        replaced.update(counts)
        changed.append(one._replace(text=text))
    return changed, dict(sorted(replaced.items()))


def mixture(
    task: Task, publications: Sequence[Labeled], splits: Splits, config: RetrainConfig
) -> Mixture:
    """The labelled texts beside replayed rows; at least `replay_share` of the rows are old.

    Texts that a validation, calibration or test row has are left out, and so are repetitions.
    """
    usable = [one for one in publications if one.label is not None and one.text]
    rows = conformed(splits, _rows(task, splits, usable), [task.text_field.name])
    hashes = np.asarray(rows[HASH])
    _, first = np.unique(hashes, return_index=True)
    fresh = np.isin(np.arange(len(hashes)), first) & ~np.isin(hashes, held_out_hashes(splits))
    sure = np.array([one.by in ("human", "taxonomy") for one in usable], bool)
    apart = fresh & sure & (uniform(hashes, 1) < config.held_out_share)
    if apart.sum() < MIN_HELD_OUT:
        apart[:] = False
    replay = replayed(splits, config.max_replay_rows)
    room = int(replay.num_rows * (1 / config.replay_share - 1) + 1e-9)
    chosen = _evenly([one.item.source_id for one in usable], fresh & ~apart, room)
    old = replay.filter(pa.array(~np.isin(np.asarray(replay[HASH]), hashes[chosen])))
    train = pa.concat_tables([old, rows.filter(pa.array(chosen))])
    by = Counter(one.by for one in publications)
    used = Counter(usable[number].by for number in np.flatnonzero(chosen))
    return Mixture(
        train,
        rows.filter(pa.array(apart)),
        {
            "num_items": len(publications),
            "labeled_by": {name or "nobody": count for name, count in sorted(by.items())},
            "trained_on_by": dict(sorted(used.items())),
            "num_left_out": int((~fresh).sum()),
            "num_beyond_replay_share": int((fresh & ~apart & ~chosen).sum()),
            "num_held_out": int(apart.sum()),
            "num_new": int(chosen.sum()),
            "num_replayed": old.num_rows,
            "replay_share": round(old.num_rows / max(train.num_rows, 1), 6),
        },
    )


def _labeled(
    task: Task, item: Item, config: RetrainConfig, rules: Sequence[LabelingRule]
) -> Labeled:
    text = text_of(item)
    if item.label_source == "human":
        return Labeled(item, text, _canonical(task, item.label), "human", "")
    if item.label:  # the source's own, as the poller understood it
        return Labeled(item, text, _canonical(task, item.label), "taxonomy", item.label_source)
    categories: list[str] = json.loads(item.categories) if item.categories else []
    meant = {config.taxonomy[name]: name for name in categories if name in config.taxonomy}
    if meant and (task.head == "multi_label" or len(meant) == 1):
        label = sorted(meant) if task.head == "multi_label" else next(iter(meant))
        return Labeled(item, text, _canonical(task, label), "taxonomy", ", ".join(meant.values()))
    several = task.head == "multi_label"
    said = vote(rules, text, several=several, min_confidence=config.min_confidence)
    if said is None:
        return Labeled(item, text, None, "", "")
    label = list(said.labels) if several else said.labels[0]
    return Labeled(item, text, _canonical(task, label), "weak", f"{said.confidence:.2f}")


def _canonical(task: Task, label: str | list[str]) -> str:
    rule = rule_of(task)
    try:
        return read_label(label, rule, Context(None, None))
    except InputError as error:
        raise InputError(f"a label of {task.path} must {error}") from error


def _labeled_rows(
    task: Task, splits: Splits, config: RetrainConfig
) -> Iterable[tuple[str, list[str]]]:
    rows = replayed(splits, min(config.max_replay_rows, 5000))
    texts, labels = rows[task.text_field.name].to_pylist(), rows[splits.label].to_pylist()
    for text, label in zip(texts, labels, strict=True):
        yield text, names_of(label, splits.labels)


def _rows(task: Task, splits: Splits, publications: Sequence[Labeled]) -> pa.Table:
    columns: dict[str, list[str]] = {
        task.text_field.name: [one.text for one in publications],
        splits.label: [one.label or "" for one in publications],
    }
    if splits.corpus.group is not None:
        columns[splits.corpus.group] = [
            f"{o.item.source_id}:{o.item.item_key}" for o in publications
        ]
    return pa.table({name: pa.array(values, pa.large_string()) for name, values in columns.items()})


def _evenly(sources: Sequence[str], allowed: NDArray[np.bool_], room: int) -> NDArray[np.bool_]:
    """Which of the allowed rows [B] are taken: the sources in turn, until there is no room."""
    order: dict[str, list[int]] = {}
    for number in np.flatnonzero(allowed).tolist():
        order.setdefault(sources[number], []).append(number)
    turns = sorted(
        (turn, int(text_hash(source)), number)
        for source, numbers in order.items()
        for turn, number in enumerate(numbers)
    )
    chosen = np.zeros(len(sources), bool)
    chosen[[number for _, _, number in turns[: max(room, 0)]]] = True
    return chosen
