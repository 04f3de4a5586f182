"""Go on training a base on raw text: python -m jobs.pretrain INDUSTRY/TASK --data 'texts/*.parquet'

Masked-language-model training; the files need the task's text column and no labels. The same
command again goes on where it stopped. Steps: --set vocabulary.training.num_steps=20000. Runs in
this process, on its GPU if it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.command import parser, read_run
from jobs.exits import run as call
from spt_core.data.corpus import expand
from spt_core.errors import InputError
from spt_core.models.bases import find_base
from spt_core.models.text import TextConfig
from spt_core.training.masked_lm import FileTexts, adapt


def main(arguments: Sequence[str] | None = None) -> int:
    """Raw texts -> a base that knows them."""
    run = read_run(parser("pretrain", __doc__ or "").parse_args(arguments))
    network, config = run.config.training.network, run.config.vocabulary.training
    if run.task.family != "text" or not isinstance(network, TextConfig):
        raise InputError(f"texts train a task on text, however: {run.task.path} is on tables")
    if run.arguments.data is None:
        raise InputError("training on raw text needs texts, however: there is no --data")
    uris, kind, identity = expand(run.arguments.data)
    texts = FileTexts(uris, kind, run.task.text_field.name)
    name = f"pretrain:{run.settings.storage}:{run.task.path}/{run.arguments.name}"
    with run.registry().lease(name), run.screen.stage("pretrain") as stage:
        stage.say("reading")

        def on_step(metrics: Mapping[str, float]) -> None:
            step, total = int(metrics["step"]), config.num_steps
            stage.advance(
                step, total, f"step {step} of {total}, {metrics['loss']:.2f} bits a token"
            )

        made = adapt(
            find_base(network.base, run.settings.storage),
            texts,
            fingerprint=identity,
            storage=run.settings.storage,
            config=config,
            fresh=run.fresh,
            on_step=on_step,
        )
        stage.say("finished before, reused; --fresh makes it again" if made.reused else "done")
    run.screen.say(f"  train with it: --set training.network.base={made.base.uri}")
    run.screen.result(
        {"base": made.base.uri, "run": made.uri, "loss": made.losses[-1], "reused": made.reused},
        made.base.uri,
    )
    return 0


if __name__ == "__main__":
    call(main)
