"""The benchmark's result: a JSON object, and an HTML page with plots that needs nothing else."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spt_core.heads import HEADS
from spt_core.task import ComparedRate, Head

TEMPLATE = Path(__file__).with_name("report.html.j2")
MAX_CLASSES = 20  # on the plot; the table has all
COLORS = (
    "#0b6e99",
    "#d9730d",
    "#6940a5",
    "#0f7b6c",
    "#ad1a72",
    "#8a8a2b",
    "#4d7ea8",
    "#b34a4a",
    "#555f61",
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Figures of a model and its baselines on one evaluation set; the first model is the product's.

    `quality[model][metric]` holds value, low and high of a 95 % bootstrap interval,
    `latency_ms[model]` p50, p90 and p99 of one row in process (the product's with encoding and
    reasons, the baselines' without encoding). Of texts, `num_positives` counts the rows with any
    label but the negative class, intervals resample the `num_groups` documents, and
    `classes[model]` holds label, support, precision, recall and f1 of each class; `left_out` says
    of a baseline that could not be fitted why. `confusion` counts the items of each class that the
    product gives each class, where one is given. `decisions[model]` are the cases of each action
    by true label and the mean cost of one; `inputs` the fields by their mean effect, with their
    missing shares; `parts` the rows, base rates and periods of the data's parts. `too_few` says why
    the figures of decisions say nothing, where held-out rows of a class are so few. `front` are the
    models that could have been served, measured on validation rows. `refit` says of a registered
    model that was trained on more rows, how many and of which export these figures are. Of images,
    `pictures` are right and wrong ones with what the answer rests on, and `deletion` says how far
    answers fall when that is hidden (pictures.py). Impact ratios of decisions are of the
    `compared_rate` (subgroups.py). Of forecasts of losses, `backtest[model]` says
    at each level how often they were exceeded, with its tests (heads/backtest.py); of those of
    several steps, `totals[model]` how often a level of the steps' total held (heads/totals.py). Of
    numbers with `limits`, these say how good the model's probabilities are that a number is at most
    as much (heads/within.py).
    `transfer` says of a model that was begun with another task's what came over, and why it, or one
    from scratch, was kept.
    `takings[model]` say what acting on answers earns, before and after costs, where a task and its
    corpus tell.
    """

    task: str
    model_name: str
    metric: str
    evaluation_set: str
    evaluation_fingerprint: str
    num_rows: int
    num_positives: int
    synthetic: bool
    quality: Mapping[str, Mapping[str, Mapping[str, float]]]
    latency_ms: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Mapping[str, list[float]]]
    baseline_parameters: Mapping[str, Mapping[str, Any]]
    subgroups: Mapping[str, list[dict[str, Any]]]
    compliance: Mapping[str, Mapping[str, Any]]
    size_bytes: int
    memory_bytes: int
    latency_target_ms: float
    size_target_mb: float
    machine: str
    head: Head = "binary"  # reports of before there were others are still in registries
    compared_rate: ComparedRate = "approval_rate"  # as of the same reports
    num_groups: int = 0
    classes: Mapping[str, list[dict[str, Any]]] = dataclasses.field(
        default_factory=dict[str, list[dict[str, Any]]]
    )
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    confusion: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    decisions: Mapping[str, Mapping[str, Any]] = dataclasses.field(
        default_factory=dict[str, Mapping[str, Any]]
    )
    currency: str = ""
    inputs: list[dict[str, Any]] = dataclasses.field(default_factory=list[dict[str, Any]])
    parts: list[dict[str, Any]] = dataclasses.field(default_factory=list[dict[str, Any]])
    too_few: str = ""
    front: list[dict[str, Any]] = dataclasses.field(default_factory=list[dict[str, Any]])
    refit: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    pictures: list[dict[str, Any]] = dataclasses.field(default_factory=list[dict[str, Any]])
    deletion: dict[str, float] = dataclasses.field(default_factory=dict[str, float])
    backtest: dict[str, list[dict[str, Any]]] = dataclasses.field(
        default_factory=dict[str, list[dict[str, Any]]]
    )
    totals: dict[str, list[dict[str, Any]]] = dataclasses.field(
        default_factory=dict[str, list[dict[str, Any]]]
    )
    limits: list[dict[str, Any]] = dataclasses.field(default_factory=list[dict[str, Any]])
    transfer: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    takings: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    def to_json(self) -> dict[str, Any]:
        """A JSON object with all fields."""
        return dataclasses.asdict(self)

    def html(
        self,
        *,
        facts: Mapping[str, Any],
        findings: Sequence[Mapping[str, Any]] = (),
        use: Mapping[str, str] | None = None,
        rows: str = "",
    ) -> str:
        """The page; `facts` (versions, data, lineage) are a table, `findings` a list.

        `use` says what the model is for, who made it and who approves it, `rows` where the rows of
        the data went.
        """
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        template = environment.from_string(TEMPLATE.read_text())
        return template.render(
            report=self,
            facts=facts,
            findings=findings,
            use=use or {},
            rows=rows,
            noun=HEADS[self.head].noun,
            undefined=[
                name.replace("_", " ")
                for name in HEADS[self.head].metrics
                if name not in self.quality[self.model_name]
            ],
            plots=[(title, png(draw)) for title, draw in self._plots()],
        )

    def _plots(self) -> list[tuple[str, Callable[[Axes], None]]]:
        plots: list[tuple[str, Callable[[Axes], None]]] = [
            ("Latency of one answer", self._latency),
        ]
        if len(self.front) > 1:
            plots.append(("What could be served: quality over latency", self._front))
        if self.too_few:
            return plots
        plots.append((f"{self.metric} with 95 % intervals", self._intervals))
        if self.classes:
            return [("F1 by class", self._class_f1), *plots]
        if all("true" in curve for curve in self.curves.values()):
            return [("Answers over true values, with intervals", self._values), *plots]
        if all("anomalous" in curve for curve in self.curves.values()):
            return [("Scores and alarms over time", self._alarms), *plots]
        if all("recall" in curve for curve in self.curves.values()):
            ranking = ("Precision and recall", self._precision_recall)
            return [ranking, ("Calibration", self._calibration), *plots]
        return plots

    def _precision_recall(self, axes: Axes) -> None:
        for color, (name, curve) in zip(COLORS, self.curves.items(), strict=False):
            axes.plot(curve["recall"], curve["precision"], color=color, label=name)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(frameon=False, fontsize=8)

    def _values(self, axes: Axes) -> None:
        """The product's answers with their intervals, the baselines' answers behind them."""
        for color, (name, curve) in zip(COLORS[1:], list(self.curves.items())[1:], strict=False):
            axes.plot(curve["true"], curve["value"], ".", ms=2, color=color, label=name)
        curve = self.curves[self.model_name]
        axes.vlines(curve["true"], curve["low"], curve["high"], color=COLORS[0], lw=0.5, alpha=0.5)
        axes.plot(curve["true"], curve["value"], ".", ms=4, color=COLORS[0], label=self.model_name)
        ends = [min(curve["true"]), max(curve["true"])]
        axes.plot(ends, ends, color="#999", lw=1, ls="--", label="perfect")
        axes.set(xlabel="true value", ylabel="answer")
        axes.legend(frameon=False, fontsize=8)

    def _alarms(self, axes: Axes) -> None:
        """The product's scores along one unit's readings, its alarms, and what was anomalous."""
        curve = self.curves[self.model_name]
        reading, top = curve["reading"], max(curve["score"]) or 1.0
        is_anomalous = [flag > 0 for flag in curve["anomalous"]]
        axes.fill_between(
            reading, 0, top, where=is_anomalous, color="#f2c6c6", step="mid", label="anomalous"
        )
        axes.plot(reading, curve["score"], color=COLORS[0], lw=0.8, label=self.model_name)
        alarms = [i for i, flag in enumerate(curve["alarm"]) if flag > 0]
        points = [reading[i] for i in alarms], [curve["score"][i] for i in alarms]
        axes.plot(*points, ".", ms=4, color=COLORS[1], label="alarm")
        axes.set(xlabel="reading of one unit", ylabel="score")
        axes.legend(frameon=False, fontsize=8)

    def _calibration(self, axes: Axes) -> None:
        top = 0.0
        for color, (name, curve) in zip(COLORS, self.curves.items(), strict=False):
            axes.plot(curve["predicted"], curve["observed"], "o-", ms=4, color=color, label=name)
            top = max(top, *curve["predicted"], *curve["observed"])
        axes.plot([0, top], [0, top], color="#999", lw=1, ls="--", label="perfect")
        axes.set(xlabel="mean probability (tenths of the rows)", ylabel="share of positives")
        axes.legend(frameon=False, fontsize=8)

    def _latency(self, axes: Axes) -> None:
        for color, (name, curve) in zip(COLORS, self.curves.items(), strict=False):
            label = f"{name}, median {self.latency_ms[name]['p50']:.3f} ms"
            axes.plot(curve["latency_ms"], range(1, 100), color=color, label=label)
        axes.set_xscale("log")
        axes.set(xlabel="ms for one row", ylabel="% of the calls are faster", ylim=(0, 100))
        axes.legend(frameon=False, fontsize=8)

    def _front(self, axes: Axes) -> None:
        """Candidates by median latency and the task's metric on validation rows."""
        for color, point in zip(COLORS, self.front, strict=False):
            mark = "o" if point["chosen"] else "x"
            label = f"{point['name']}, {point['size_mb']:.2f} MB"
            axes.plot(point["latency_ms"]["p50"], point["metric"], mark, color=color, label=label)
        axes.axvline(self.latency_target_ms, color="#999", lw=1, ls="--")
        axes.set_xscale("log")
        axes.set(xlabel="ms for one row", ylabel=f"{self.metric}, validation rows")
        axes.legend(frameon=False, fontsize=8)

    def _class_f1(self, axes: Axes) -> None:
        """The classes with the most items, the most frequent on top; models side by side."""
        shown = sorted(self.classes[self.model_name], key=lambda row: -row["support"])
        labels = [row["label"] for row in shown[:MAX_CLASSES]]
        height = 0.8 / len(self.classes)
        for number, (color, (name, rows)) in enumerate(
            zip(COLORS, self.classes.items(), strict=False)
        ):
            f1 = {row["label"]: row["f1"] or 0.0 for row in rows}
            places = [index + number * height for index in range(len(labels))]
            axes.barh(places, [f1[label] for label in labels], height, color=color, label=name)
        axes.set_yticks([index + 0.4 - height / 2 for index in range(len(labels))], labels)
        axes.tick_params(axis="y", labelsize=7)
        axes.invert_yaxis()
        axes.set(xlabel="F1", xlim=(0, 1))
        axes.legend(frameon=False, fontsize=8)

    def _intervals(self, axes: Axes) -> None:
        names = list(self.quality)
        for index, name in enumerate(names):
            figure = self.quality[name][self.metric]
            axes.plot([figure["low"], figure["high"]], [index, index], color=COLORS[index], lw=3)
            axes.plot(figure["value"], index, "o", color=COLORS[index])
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel=self.metric)


def report_from_json(content: Mapping[str, Any]) -> Report:
    """The Report that `to_json` wrote."""
    return Report(**content)


def png(draw: Callable[[Axes], None]) -> str:
    """A plot as a PNG in base64, for a page that needs nothing else."""
    matplotlib.use("Agg")
    figure = Figure(figsize=(5.2, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
