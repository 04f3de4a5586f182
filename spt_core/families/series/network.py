"""The networks of series: InceptionTime members that teach, and a small student that says why.

Legend: B batch, T steps, C channels, K outputs, M members, F filters. Inputs are windows [B, T, C]
of raw readings, NaN where a channel has none; what is usual is taken from training rows (`facts`).
Windows of forecasts may go on over the horizon, [B, T + H, C], with what is known in advance.

The student's output is a sum over steps and channels, so that its parts are its reasons and cost
nothing: each channel's own filters (depthwise, at several lengths, as in LITE: Ismail-Fawaz et al.,
"LITE: Light Inception with boosTing tEchniques", DSAA 2023) are weighed by gates that look at all
channels (pointwise). `explain` gives the outputs and the map [B, E, T, C] of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from spt_core.artifacts import Role
from spt_core.families.series.config import SeriesConfig
from spt_core.families.series.facts import LEAST_SCALE, scale_weights
from spt_core.heads.forecasts import LEVELS
from spt_core.task import Head

LIMIT = 8.0  # standard deviations, beyond which a reading says no more
FAR_LIMIT = 30.0  # where it is the question how far it is
QUANTILES = (0.05, 0.95)  # of a number's interval, beside its value
PERIOD = 4  # steps between a student's second filters


class Usual(nn.Module):
    """Readings [B, T, C] in standard deviations from what is usual, the unknown ones as usual."""

    center: Tensor
    spread: Tensor

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self._limit = FAR_LIMIT if facts["head"] == "anomalies" else LIMIT
        self.register_buffer("center", torch.tensor(facts["center"], dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(facts["spread"], dtype=torch.float32))

    def forward(self, windows: Tensor) -> Tensor:
        """[B, C, T]."""
        whole = torch.where(torch.isnan(windows), self.center, windows)
        return (
            ((whole - self.center) / self.spread).clamp(-self._limit, self._limit).transpose(1, 2)
        )


class TeacherNetwork(nn.Module):
    """InceptionTime members side by side; each learns by itself."""

    def __init__(self, config: SeriesConfig, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.head: Head = facts["head"]
        self.usual = Usual(facts)
        outputs, is_ahead = num_outputs(facts), facts["head"] == "anomalies"
        self.rises = Rises(facts) if facts["head"] == "forecasts" else None
        self.ahead = ahead_of(facts, config.student_width)
        self._length = int(facts["length"]) - is_ahead
        self.members = nn.ModuleList(
            _Inception(
                config,
                len(facts["center"]) + (self.rises is not None),
                outputs,
                self._length,
            )
            for _ in range(config.teacher_members)
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Raw outputs [B, M * K], member by member; of anomalies, what the last reading will be."""
        usual = self.usual(windows)[:, :, : self._length]
        if self.rises is None:
            return torch.cat([member(usual) for member in self.members], 1)
        own, scale = self.rises.relative(windows)
        inputs = torch.cat([usual, own.unsqueeze(1)], 1)
        raw = [member(inputs) for member in self.members]
        if self.ahead is not None:
            whole = self.usual(windows)
            raw = [self.ahead(of_member, whole) for of_member in raw]
        return torch.cat([self.rises(of_member, scale) for of_member in raw], 1)


class _Inception(nn.Module):
    """Blocks with a residual connection, the mean over time, a linear output."""

    def __init__(self, config: SeriesConfig, channels: int, outputs: int, length: int) -> None:
        super().__init__()
        width = config.teacher_filters * (len(config.teacher_kernels) + 1)
        longest = length if length % 2 else length - 1
        kernels = [min(kernel, longest) for kernel in config.teacher_kernels]
        sizes = [channels, *[width] * (config.teacher_blocks - 1)]
        self.blocks = nn.ModuleList(_Block(size, config.teacher_filters, kernels) for size in sizes)
        self.shortcut = nn.Conv1d(channels, width, 1, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(2 * width, outputs)

    def forward(self, usual: Tensor) -> Tensor:
        states = usual
        for block in self.blocks:
            states = block(states)
        states = functional.relu(self.norm(states + self.shortcut(usual)))
        return self.output(self.dropout(torch.cat([states.mean(2), states[:, :, -1]], 1)))


class _Block(nn.Module):
    """Filters of several lengths over a bottleneck, and what a maximum over three steps keeps."""

    def __init__(self, channels: int, filters: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(channels, filters, 1, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv1d(filters, filters, kernel, padding=kernel // 2, bias=False)
            for kernel in kernels
        )
        self.pooled = nn.Conv1d(channels, filters, 1, bias=False)
        self.norm = nn.BatchNorm1d(filters * (len(kernels) + 1))

    def forward(self, states: Tensor) -> Tensor:
        narrow = self.bottleneck(states)
        parts = [branch(narrow) for branch in self.branches]
        parts.append(self.pooled(functional.max_pool1d(states, 3, stride=1, padding=1)))
        return functional.relu(self.norm(torch.cat(parts, 1)))


class Rises(nn.Module):
    """Quantiles of each step as rises, in the scale of the window's own readings of the target.

    Demand is 0 or more, and mostly 0 where it is intermittent: the first quantile is a rise from 0.
    In the scale late readings may weigh more (`facts.half_life`): calm and stormy days cluster.
    """

    weights: Tensor

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self._target, self._horizon = int(facts["target"]), int(facts["horizon"])
        self._length = int(facts["length"])
        self._least = LEAST_SCALE * float(facts["value_scale"])
        weights = scale_weights(self._length, facts.get("half_life_steps"))
        self.register_buffer(
            "weights", torch.tensor(weights, dtype=torch.float32), persistent=False
        )

    def relative(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """The target's readings [B, T] over their scale [B, 1]."""
        own = windows[:, : self._length, self._target]
        own = torch.where(torch.isnan(own), torch.zeros_like(own), own)
        scale = (own.abs() * self.weights).sum(1, keepdim=True) + self._least
        return (own / scale).clamp(-LIMIT, LIMIT), scale

    def forward(self, raw: Tensor, scale: Tensor) -> Tensor:
        """Quantiles [B, H * Q] of raw outputs [B, H * Q]."""
        rises = functional.softplus(raw - 2.0).unflatten(1, (self._horizon, len(LEVELS)))
        return rises.cumsum(2).flatten(1) * scale


class Ahead(nn.Module):
    """What is known of each step to come, beside what the window says of it.

    One small network for all steps, as TiDE's temporal decoder (Das et al., TMLR 2023).
    """

    def __init__(self, facts: Mapping[str, Any], width: int) -> None:
        super().__init__()
        self._columns: list[int] = list(facts["columns_ahead"])
        self._length, self._horizon = int(facts["length"]), int(facts["horizon"])
        self.layers = nn.Sequential(
            nn.Linear(len(LEVELS) + len(self._columns), width),
            nn.ReLU(),
            nn.Linear(width, len(LEVELS)),
        )

    def forward(self, raw: Tensor, usual: Tensor) -> Tensor:
        """Raw outputs [B, H * Q] of those of the window alone; `usual` is [B, C, T + H]."""
        steps = raw.unflatten(1, (self._horizon, len(LEVELS)))
        plans = usual[:, self._columns, self._length :].transpose(1, 2)
        return (steps + self.layers(torch.cat([steps, plans], 2))).flatten(1)


def ahead_of(facts: Mapping[str, Any], width: int) -> Ahead | None:
    """What reads the horizon's rows of a window; None where there are none."""
    return Ahead(facts, width) if facts.get("ahead") else None


class ForecastNetwork(nn.Module):
    """A linear map of the window beside a small dense network, as in TiDE (Das et al., TMLR 2023).

    Global linear models beat larger ones on intermittent demand; it has no map.
    """

    def __init__(self, config: SeriesConfig, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.head: Head = facts["head"]
        self.usual, self.rises = Usual(facts), Rises(facts)
        self._length = int(facts["length"])
        size = self._length * (len(facts["center"]) + 2) + 1
        outputs = num_outputs(facts)
        self.direct = nn.Linear(size, outputs)
        self.hidden = nn.Sequential(
            nn.Linear(size, 2 * config.student_width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.student_width, outputs),
        )
        self.ahead = ahead_of(facts, config.student_width)
        self._unit = float(facts["value_scale"])

    def forward(self, windows: Tensor) -> Tensor:
        """Quantiles [B, H * Q]."""
        own, scale = self.rises.relative(windows)
        level = torch.log(scale / self._unit)
        usual = self.usual(windows)
        readings = usual[:, :, : self._length].flatten(1)
        inputs = torch.cat([readings, own, (own > 0).to(own.dtype), level], 1)
        raw = self.direct(inputs) + self.hidden(inputs)
        return self.rises(raw if self.ahead is None else self.ahead(raw, usual), scale)


class ResidualNetwork(nn.Module):
    """What is usual, in three ways: how windows are shaped, how far they go, what comes next.

    The score is the mean of three errors, each 1 where one of a hundred usual windows lies: what
    principal components leave of the window (Q), how far its components are from usual ones (T2,
    which sees a level; both as Jackson and Mudholkar, Technometrics 1979), and its last reading
    against the one that a small network expects by those before. Each is a sum over readings, which
    is the map; that of T2 as Alcala and Qin, Automatica 2009 (complete decomposition).
    """

    components: Tensor
    spreads: Tensor
    typical: Tensor
    noise: Tensor
    units: Tensor

    def __init__(self, config: SeriesConfig, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.head: Head = facts["head"]
        self.usual = Usual(facts)
        self.channels, self.length = len(facts["center"]), int(facts["length"])
        before = self.length - 1
        longest = before if before % 2 else before - 1
        kernels = [max(min(kernel, longest), 1) for kernel in config.student_kernels]
        self.near = nn.ModuleList(
            nn.Conv1d(
                self.channels,
                self.channels * config.student_filters,
                kernel,
                padding=kernel // 2,
                groups=self.channels,
            )
            for kernel in kernels
        )
        wide = self.channels * config.student_filters * len(kernels)
        self.mix = nn.Conv1d(wide, config.student_width, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.change = nn.Linear(2 * config.student_width, self.channels)
        self.hold = nn.Parameter(torch.ones(self.channels))
        cells = self.length * self.channels
        size = min(config.components, cells)
        self.register_buffer("components", torch.zeros(size, cells))
        self.register_buffer("spreads", torch.ones(size))
        self.register_buffer("typical", torch.zeros(cells))
        self.register_buffer("noise", torch.ones(self.channels))
        self.register_buffer("units", torch.ones(3))

    def forward(self, windows: Tensor) -> Tensor:
        """The last reading as the others let expect it [B, C], in standard deviations."""
        return self._expected(self.usual(windows))

    def explain(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [B, 1] and the map [B, 1, T, C], whose sum they are."""
        usual = self.usual(windows)
        ahead = (usual[:, :, -1] - self._expected(usual)) / self.noise
        last = ahead.square() / (self.channels * 3.0 * self.units[2])
        parts = self._window_errors(usual)
        parts = torch.cat([parts[:, :-1], parts[:, -1:] + last.unsqueeze(1)], 1)
        return parts.sum((1, 2)).unsqueeze(1), parts.unsqueeze(1)

    def set_usual(self, usual: UsualWindows) -> None:
        """Take what fitting on usual windows gave."""
        for name, values in usual._asdict().items():
            getattr(self, name).copy_(torch.tensor(values, dtype=torch.float32))

    def _expected(self, usual: Tensor) -> Tensor:
        before = usual[:, :, :-1]
        near = [
            functional.relu(conv(before)).unflatten(1, (self.channels, -1)) for conv in self.near
        ]
        mixed = functional.relu(self.mix(torch.cat(near, 2).flatten(1, 2)))
        context = self.dropout(torch.cat([mixed.mean(2), mixed[:, :, -1]], 1))
        return self.hold * before[:, :, -1] + self.change(context)

    def _window_errors(self, usual: Tensor) -> Tensor:
        """What each reading [B, T, C] adds to the shares of Q and of T2 in the score."""
        centered = usual.transpose(1, 2).flatten(1) - self.typical
        inner = centered @ self.components.T
        left = (centered - inner @ self.components).square() / len(self.typical)
        far = ((inner / self.spreads) @ self.components).square() / len(self.spreads)
        parts = left / (3.0 * self.units[0]) + far / (3.0 * self.units[1])
        return parts.unflatten(1, (self.length, self.channels))


class UsualWindows(NamedTuple):
    """Components [P, T * C] and their deviations [P], mean window [T * C], noise [C], units [3]."""

    components: Any
    spreads: Any
    typical: Any
    noise: Any
    units: Any


class StudentNetwork(nn.Module):
    """Depthwise filters, weighed by gates that see all channels; its output is a sum of parts."""

    scale: Tensor
    shift: Tensor
    typical: Tensor

    def __init__(self, config: SeriesConfig, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.head: Head = facts["head"]
        self.usual = Usual(facts)
        self.channels, self.length = len(facts["center"]), int(facts["length"])
        self.num_explained = num_explained(facts)
        self.filters = config.student_filters * len(config.student_kernels)
        longest = self.length if self.length % 2 else self.length - 1
        self.near = nn.ModuleList(
            nn.Conv1d(
                self.channels,
                self.channels * config.student_filters,
                min(kernel, longest),
                padding=min(kernel, longest) // 2,
                groups=self.channels,
            )
            for kernel in config.student_kernels
        )
        wide = self.channels * self.filters
        self.far = nn.Conv1d(wide, wide, 3, padding=PERIOD, dilation=PERIOD, groups=wide)
        self.mix = nn.Conv1d(wide, config.student_width, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.gates = nn.Linear(2 * config.student_width, self.channels)
        self.votes = nn.Parameter(torch.zeros(self.num_explained, self.channels, self.filters + 1))
        self.bias = nn.Parameter(torch.zeros(self.num_explained))
        self.when = nn.Parameter(torch.zeros(self.length))
        others = num_outputs(facts) - self.num_explained
        self.others = nn.Linear(2 * config.student_width, others) if others else None
        nn.init.normal_(self.votes, std=0.1)
        size = num_outputs(facts)
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("shift", torch.zeros(size))
        shape = (self.num_explained, self.length, self.channels)
        self.register_buffer("typical", torch.zeros(shape))

    def forward(self, windows: Tensor) -> Tensor:
        """Raw outputs [B, K]."""
        return self._outputs(windows)[0]

    def explain(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [B, K] as the head has them, and the map [B, E, T, C] against a typical window."""
        outputs, parts = self._outputs(windows)
        scale = self.scale[: self.num_explained, None, None]
        return outputs * self.scale + self.shift, (parts - self.typical) * scale

    def calibrate(self, scale: Sequence[float], shift: Sequence[float]) -> None:
        """Take outputs to the head's scores: values to their unit, logits to calibrated ones."""
        self.scale.copy_(torch.tensor(scale, dtype=torch.float32))
        self.shift.copy_(torch.tensor(shift, dtype=torch.float32))

    @torch.no_grad()
    def set_typical(self, windows: Tensor) -> None:
        """Take the mean map of windows as what stands for nothing."""
        parts = [self._outputs(some)[1].sum(0) for some in windows.split(1024)]
        self.typical.copy_(torch.stack(parts).sum(0) / len(windows))

    def _outputs(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Raw outputs [B, K] and parts [B, E, T, C], whose sum with the bias is the first E."""
        usual = self.usual(windows)
        near = [
            functional.relu(conv(usual)).unflatten(1, (self.channels, -1)) for conv in self.near
        ]
        states = torch.cat(near, 2).flatten(1, 2)
        states = functional.relu(states + self.far(states))
        mixed = functional.relu(self.mix(states))
        context = self.dropout(torch.cat([mixed.mean(2), mixed[:, :, -1]], 1))
        gates = 2.0 * self.gates(context).sigmoid()
        own = torch.cat([states.unflatten(1, (self.channels, self.filters)), usual.unsqueeze(2)], 2)
        parts = torch.einsum("bcft,ecf->betc", own, self.votes)
        parts = parts * gates[:, None, None, :] * self.when.softmax(0)[:, None]
        explained = parts.sum((2, 3)) + self.bias
        if self.others is None:
            return explained, parts
        others = self.others(context)
        if self.head == "regression":  # distances of the interval's ends from the value
            ends = functional.softplus(others) * explained.new_tensor([-1.0, 1.0])
            return torch.cat([explained, explained + ends], 1), parts
        return torch.cat([explained, others], 1), parts


def num_outputs(facts: Mapping[str, Any]) -> int:
    """How many numbers K a network says of a window, by its head."""
    head: Head = facts["head"]
    if head == "regression":
        return 1 + len(QUANTILES)
    if head == "anomalies":
        return len(facts["center"])
    if head == "forecasts":
        return int(facts["horizon"]) * len(LEVELS)
    return len(facts["classes"])


def num_explained(facts: Mapping[str, Any]) -> int:
    """How many of them E come with a map."""
    return 1 if facts["head"] in ("regression", "anomalies") else len(facts["classes"])


def series_network(config: SeriesConfig, role: Role, facts: Mapping[str, Any]) -> nn.Module:
    """The network of a role, with random weights."""
    if role == "teacher":
        return TeacherNetwork(config, facts)
    return _STUDENTS.get(facts["head"], StudentNetwork)(config, facts)


def as_student(network: nn.Module) -> Student:
    """A network that was made for the role student."""
    return cast(Student, network)


Student = StudentNetwork | ResidualNetwork | ForecastNetwork
_STUDENTS: Mapping[Head, type[Student]] = {
    "anomalies": ResidualNetwork,
    "forecasts": ForecastNetwork,
}
