"""Go on training a base on raw text: python -m jobs.pretrain INDUSTRY/TASK --data 'texts/*.parquet'

Masked-language-model training; the files need the task's text column and no labels. The same
command again goes on where it stopped. Steps: --set vocabulary.training.num_steps=20000. Runs in
this process, on its GPU if it has one.

A --dataset, and files that have the task's label, are split as for training, and their training
rows alone are read: a base that has read the test would flatter every model made from it. Raw texts
are read whole, so they must not hold documents of the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jobs.command import Run, parser, read_run, started
from jobs.exits import run as call
from jobs.stages.fitting import prepared
from spt_core.data import formats
from spt_core.data.corpus import expand
from spt_core.errors import InputError
from spt_core.families.text.config import TextConfig
from spt_core.vocabulary.raw_text import FileTexts


class RawTexts(NamedTuple):
    """The texts to train on, a digest of their content, their licences, and what a person reads."""

    texts: FileTexts
    fingerprint: str
    licences: tuple[str, ...]
    what: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Raw texts -> a base that knows them."""
    run = read_run(parser("pretrain", __doc__ or "").parse_args(arguments))
    network, config = run.config.training.network, run.config.vocabulary.training
    if not isinstance(network, TextConfig):
        raise InputError(f"texts train a task on text, however: {run.task.path} is on tables")
    if run.arguments.data is None and run.arguments.dataset is None:
        raise InputError("training on raw text needs texts, however: there is no --data")
    from spt_core.families.text.bases import find_base, num_new_tokens  # torch
    from spt_core.vocabulary.masked_lm import adapt

    source = raw_texts(run)
    name = f"pretrain:{run.settings.storage}:{run.task.path}/{run.arguments.name}"
    with run.registry().lease(name), run.screen.stage("pretrain") as stage:
        stage.say(f"reading {source.what}")

        def on_step(metrics: Mapping[str, float]) -> None:
            step, total = int(metrics["step"]), config.num_steps
            stage.advance(
                step, total, f"step {step} of {total}, {metrics['loss']:.2f} bits a token"
            )

        base = find_base(network.base, run.settings.storage)
        adaptation = adapt(
            base,
            source.texts,
            fingerprint=source.fingerprint,
            storage=run.settings.storage,
            config=config,
            licences=source.licences,
            num_new=num_new_tokens(base),
            fresh=run.fresh,
            on_step=on_step,
        )
        stage.say(
            "finished before, reused; --fresh makes it again" if adaptation.reused else "done"
        )
    run.screen.say(f"  train with it: --set training.network.base={adaptation.base.uri}")
    run.screen.result(
        {
            "base": adaptation.base.uri,
            "run": adaptation.uri,
            "loss": adaptation.losses[-1],
            "reused": adaptation.reused,
        },
        adaptation.base.uri,
    )
    return 0


def raw_texts(run: Run) -> RawTexts:
    """The training rows of what has labels, every row of what has none."""
    column, data, label = run.task.text_field.name, run.arguments.data, run.arguments.label
    if data is not None and label is None:
        uris, kind, identity = expand(data)
        if run.task.label not in formats.header(uris[0], kind):
            texts = FileTexts(uris, kind, column)
            return RawTexts(texts, identity, run.config.data.licences, "all texts")
    with started(run):
        splits = prepared(run)
    texts = FileTexts(splits.files("train"), "parquet", column)
    return RawTexts(texts, splits.fingerprints["train"], splits.licences, "the training rows alone")


if __name__ == "__main__":
    call(main)
