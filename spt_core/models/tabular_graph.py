"""The student's graph in the form that ONNX Runtime runs fastest: the same function, fewer nodes.

StudentNetwork -> ScoreGraph (features -> probability), ExplainGraph (-> probability, effects)

At one row a node costs more than its arithmetic. So numbers and small categories become one list of
ramps clip((x - left) * inverse_width, 0, 1) in one tensor (a category of K values is K - 1 steps of
embedding differences), calibration becomes two small matrix products around one Softplus, and all
rows of the attributions come from one product with a constant matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spt_core.models.tabular import MISSING, StudentNetwork

MAX_RAMPED_VALUES = 32  # a larger category keeps its embedding table
_NEVER = 3.0e38  # left edge of a ramp that no value reaches
_ALWAYS = -3.3e38  # left edge of a ramp that even a missing value has passed


class Ramps(NamedTuple):
    """Ramps of C columns, padded to n each: edges [C, n], weights [C, n, H], and what is constant.

    `columns` are their places among the features, `large` those of the embedded categories, whose
    rows start at `offsets` in `table` [V, H].
    """

    left: Tensor
    inverse_width: Tensor
    weight: Tensor
    constant: Tensor
    columns: list[int]
    large: list[int]
    offsets: Tensor
    table: Tensor


class ScoreGraph(nn.Module):
    """features [B, F] -> calibrated probability [B]."""

    left: Tensor
    inverse_width: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, network: StudentNetwork) -> None:
        super().__init__()
        ramps = _ramps(network)
        self._num_ramps = ramps.left.shape[1]
        self.select = _Select(ramps, len(network.baseline))
        width = ramps.constant.shape[0]
        # Ramp by ramp, all columns each: then repeating the row is all that lays out the input.
        self.register_buffer("left", ramps.left.T.reshape(-1).float())
        self.register_buffer("inverse_width", ramps.inverse_width.T.reshape(-1).float())
        self.register_buffer("weight", ramps.weight.transpose(0, 1).reshape(-1, width).float())
        self.register_buffer("bias", ramps.constant.float())
        self.head = _Head(network)

    def forward(self, features: Tensor) -> Tensor:
        """Probability [B]."""
        numbers, rows = self.select(features)
        ramps = torch.clamp(
            (numbers.repeat(1, self._num_ramps) - self.left) * self.inverse_width, 0.0, 1.0
        )
        hidden = torch.addmm(self.bias, ramps, self.weight)
        if rows is not None:
            hidden = hidden + rows.sum(1)
        return torch.sigmoid(self.head(functional.relu(hidden))).flatten()


class ExplainGraph(nn.Module):
    """features [B, F] -> calibrated probability [B], effects [B, F] on the log-odds."""

    left: Tensor
    inverse_width: Tensor
    weight: Tensor
    large_baseline: Tensor
    nothing: Tensor
    mix: Tensor

    def __init__(self, network: StudentNetwork) -> None:
        super().__init__()
        ramps = _ramps(network)
        num_columns = len(ramps.columns)
        self._num_features = len(network.baseline)
        self._width = ramps.constant.shape[0]
        baseline = network.baseline.detach().double()
        # One more ramp, always 1, carries minus the baseline: contributions come out centred.
        left = torch.full((num_columns, 1), _ALWAYS, dtype=torch.float64)
        own = baseline[ramps.columns] - _folded(network, ramps.columns)
        self.register_buffer("left", torch.cat([ramps.left, left], 1).float()[:, None, :])
        widths = torch.cat([ramps.inverse_width, torch.ones_like(left)], 1)
        self.register_buffer("inverse_width", widths.float()[:, None, :])
        self.register_buffer("weight", torch.cat([ramps.weight, -own[:, None, :]], 1).float())
        self.register_buffer("large_baseline", baseline[ramps.large].float())
        nothing = network.bias.detach().double() + baseline.sum(0)
        self.register_buffer("nothing", nothing.float())
        self.select = _Select(ramps, self._num_features)
        self.head = _Head(network)
        order = torch.tensor([*ramps.columns, *ramps.large])
        eye = torch.eye(self._num_features)[:, order]
        # Rows: everything; everything but one feature; one feature alone.
        self.register_buffer("mix", torch.cat([torch.ones(1, len(order)), 1 - eye, eye]))
        self.effects = _effects(self._num_features, self.head, self.nothing)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Probability [B], effects [B, F]."""
        numbers, rows = self.select(features)
        columns = numbers.unsqueeze(2).unsqueeze(3)  # [B, C, 1, 1]
        ramps = torch.clamp((columns - self.left) * self.inverse_width, 0.0, 1.0)
        parts = torch.matmul(ramps, self.weight).squeeze(2)  # [B, C, H]
        if rows is not None:
            parts = torch.cat([parts, rows - self.large_baseline], 1)
        hidden = functional.relu(torch.matmul(self.mix, parts) + self.nothing)  # [B, 1 + 2F, H]
        odds = self.head(hidden.reshape(-1, self._width)).reshape(-1, 1 + 2 * self._num_features)
        effects, of_row = torch.split(self.effects(odds), [self._num_features, 1], 1)
        return torch.sigmoid(of_row).flatten(), effects


class _Select(nn.Module):
    """features -> ramped columns [B, C] without NaN, and embedding rows [B, L, H] if any."""

    columns: Tensor
    large: Tensor
    offsets: Tensor
    table: Tensor

    def __init__(self, ramps: Ramps, num_features: int) -> None:
        super().__init__()
        self._all = ramps.columns == list(range(num_features))
        self.register_buffer("columns", torch.tensor(ramps.columns, dtype=torch.int64))
        self.register_buffer("large", torch.tensor(ramps.large, dtype=torch.int64))
        self.register_buffer("offsets", ramps.offsets)
        self.register_buffer("table", ramps.table.float())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        known = torch.where(torch.isnan(features), MISSING, features)
        if self._all:
            return known, None
        index = torch.index_select(features, 1, self.large).to(torch.int64) + self.offsets
        return torch.index_select(known, 1, self.columns), functional.embedding(index, self.table)


class _Head(nn.Module):
    """First hidden layer [N, H] after its activation -> calibrated log-odds [N, 1].

    a * z + (b - a) * softplus(z) + c = b * softplus(z) - a * softplus(-z) + c.
    """

    def __init__(self, network: StudentNetwork) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_copy(layer) for layer in network.upper)
        output = network.output
        self.both_signs = nn.Linear(output.in_features, 2)
        self.calibration = nn.Linear(2, 1)
        a, b, c = network.calibration.tolist()
        with torch.no_grad():
            self.both_signs.weight.copy_(torch.cat([output.weight, -output.weight]))
            self.both_signs.bias.copy_(torch.cat([output.bias, -output.bias]))
            self.calibration.weight.copy_(torch.tensor([[b, -a]]))
            self.calibration.bias.copy_(torch.tensor([c]))

    def forward(self, hidden: Tensor) -> Tensor:
        for layer in self.layers:
            hidden = functional.relu(layer(hidden))
        return self.calibration(functional.softplus(self.both_signs(hidden)))


def _ramps(network: StudentNetwork) -> Ramps:
    lefts: list[Tensor] = []
    widths: list[Tensor] = []
    weights: list[Tensor] = []
    constant = network.bias.detach().double().clone()
    columns, large = list(range(network.num_numbers)), []
    for column in columns:
        used = network.encoding.inverse_width[column] > 0
        lefts.append(network.encoding.left[column][used].double())
        widths.append(network.encoding.inverse_width[column][used].double())
        weights.append(network.number_weight.detach()[column][used].double())
    for place, rows in enumerate(network.category_rows(), network.num_numbers):
        if len(rows) - 1 > MAX_RAMPED_VALUES:
            large.append(place)
            continue
        columns.append(place)
        steps = rows.detach().double()
        constant += steps[0]
        lefts.append(torch.arange(len(steps) - 1, dtype=torch.float64))
        widths.append(torch.ones(len(steps) - 1, dtype=torch.float64))
        weights.append(steps[1:] - steps[:-1])
    size = max((len(left) for left in lefts), default=1)
    shape = (len(columns), size)
    left = torch.full(shape, _NEVER, dtype=torch.float64)
    inverse_width = torch.ones(shape, dtype=torch.float64)
    weight = torch.zeros(*shape, len(constant), dtype=torch.float64)
    for index, own in enumerate(lefts):
        left[index, : len(own)] = own
        inverse_width[index, : len(own)] = widths[index]
        weight[index, : len(own)] = weights[index]
    tables = [network.category_rows()[place - network.num_numbers].detach() for place in large]
    sizes = torch.tensor([0, *(len(table) for table in tables)])
    return Ramps(
        left=left,
        inverse_width=inverse_width,
        weight=weight,
        constant=constant,
        columns=columns,
        large=large,
        offsets=sizes.cumsum(0)[:-1],
        table=torch.cat(tables) if tables else torch.zeros(1, len(constant)),
    )


def _folded(network: StudentNetwork, columns: list[int]) -> Tensor:
    """What each ramped column has given to the constant: the row of index 0 of its category."""
    folded = torch.zeros(len(columns), len(network.bias), dtype=torch.float64)
    tables = network.category_rows()
    for index, column in enumerate(columns):
        if column >= network.num_numbers:
            folded[index] = tables[column - network.num_numbers][0].detach()
    return folded


def _effects(num_features: int, head: _Head, nothing: Tensor) -> nn.Linear:
    """Log-odds [1 + 2F] -> effects [F] and the row's own log-odds, as one matrix product."""
    with torch.no_grad():
        of_nothing = float(head(functional.relu(nothing[None]))[0, 0])
        eye = torch.eye(num_features)
        matrix = torch.zeros(num_features + 1, 1 + 2 * num_features)
        matrix[:num_features, 0] = 0.5
        matrix[:num_features, 1 : 1 + num_features] = -0.5 * eye
        matrix[:num_features, 1 + num_features :] = 0.5 * eye
        matrix[num_features, 0] = 1.0
        layer = nn.Linear(1 + 2 * num_features, num_features + 1)
        layer.weight.copy_(matrix)
        layer.bias.fill_(-0.5 * of_nothing)
        layer.bias[num_features] = 0.0
    return layer


def _copy(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    copied = nn.Linear(layer.in_features, layer.out_features)
    copied.load_state_dict(layer.state_dict())
    return copied
