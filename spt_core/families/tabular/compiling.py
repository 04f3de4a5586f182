"""A library's forest as the arrays that a single row runs on.

LightGBM's or XGBoost's own model -> Grown trees, weighted -> Trees
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import lightgbm
import numpy as np
from numpy.typing import NDArray

from spt_core.artifacts import ModelArtifact
from spt_core.families.tabular.blend import Blend
from spt_core.families.tabular.blending import STUDENT, BlendedModel
from spt_core.families.tabular.trees import Trees

_LEAST_SHARE = 1e-12  # a share of nothing would be divided by


class _Leaf(NamedTuple):
    value: float
    cover: float


class _Split(NamedTuple):
    """What asks a column; `members` are the categories that go left, None of a number."""

    column: int
    threshold: np.float32
    members: tuple[int, ...] | None
    missing_left: bool
    left: _Split | _Leaf
    right: _Split | _Leaf
    cover: float


class Grown(NamedTuple):
    """The trees of a forest with the scores that they add to, and what all rows start from [K]."""

    trees: list[tuple[int, _Split | _Leaf]]
    bias: NDArray[np.float64]


def grown(kind: str, content: bytes) -> Grown:
    """The trees of a forest that a library wrote."""
    return _READERS[kind](content)


def compile_blend(artifact: ModelArtifact, model: BlendedModel) -> Blend:
    """A blend's forests as one, and how the student's scores are added to theirs."""
    scale, shift = model.target.output.margin_units(model.target) or (1.0, 0.0)
    parts = [
        Part(grown(m.kind, artifact.read(m.file)), m.share, m.first_score, scale, shift)
        for m in model.members
    ]
    return Blend(
        compile_trees(parts, model.num_scores),
        model.shares[STUDENT] if model.network is not None else 0.0,
        np.array(model.calibration, np.float64).reshape(-1, model.num_scores),
    )


class Part(NamedTuple):
    """A forest of a blend; `scale` and `shift` make its margins scores, from `first_score` on."""

    forest: Grown
    share: float
    first_score: int = 0
    scale: float = 1.0
    shift: float = 0.0


def compile_trees(parts: Iterable[Part], num_scores: int) -> Trees:
    """The forests as one, with what makes their margins scores in their leaves."""
    writer, bias, average = _Writer(), np.zeros(num_scores), np.zeros(num_scores)
    for forest, share, first, scale, shift in parts:
        weight = share * scale
        bias[first : first + len(forest.bias)] += weight * forest.bias + share * shift
        for number, tree in forest.trees:
            output = first + number
            if isinstance(tree, _Leaf):  # a forest that could not split says one thing of all rows
                bias[output] += weight * tree.value
                continue
            writer.add(output, tree, weight)
            average[output] += weight * _mean(tree)
    return writer.trees(np.stack([bias, bias + average]))


def _mean(tree: _Split | _Leaf) -> float:
    if isinstance(tree, _Leaf):
        return tree.value
    total = tree.left.cover + tree.right.cover
    return (tree.left.cover * _mean(tree.left) + tree.right.cover * _mean(tree.right)) / total


class _Writer:
    """Writes trees split by split, in preorder."""

    def __init__(self) -> None:
        self._firsts, self._outputs, self._num_blocks = [0], list[int](), list[int]()
        self._splits: list[tuple[int, np.float32, int]] = []
        self._sets: list[tuple[int, int]] = []
        self._words: list[int] = []
        self._above: list[int] = []
        # Of edges: the split below, the leaf's value, the edge earlier, the share of rows.
        self._edges: list[tuple[int, float, int, float]] = [(-1, 0.0, 0, 1.0)]
        self._longest = 0

    def add(self, output: int, tree: _Split, weight: float) -> None:
        """One tree."""
        self._longest = 0
        self._write(tree, 0, {}, weight)
        self._outputs.append(output)
        self._firsts.append(len(self._splits))
        # Exact where the degree, a path's columns less one, is below twice the number of points.
        self._num_blocks.append(-(-self._longest // 8))

    def trees(self, bias: Any) -> Trees:
        """Everything so far."""
        column, threshold, missing = _columns(self._splits, 3)
        below, value, earlier, share = _columns(self._edges, 4)
        return Trees(
            firsts=np.array(self._firsts, np.int32),
            outputs=np.array(self._outputs, np.int32),
            num_blocks=np.array(self._num_blocks, np.int32),
            column=np.array(column, np.int32),
            threshold=np.array(threshold, np.float32),
            missing_left=np.array(missing, np.uint8),
            sets=np.array(self._sets, np.int32).reshape(-1, 2),
            words=np.array(self._words, np.uint32),
            above=np.array(self._above, np.int32),
            below=np.array(below, np.int32),
            value=np.array(value, np.float32),
            earlier=np.array(earlier, np.int32),
            share=np.array(share, np.float32),
            points=_points(max(self._num_blocks, default=1)),
            bias=np.asarray(bias, np.float64),
        )

    def _write(self, split: _Split, above: int, path: Mapping[int, int], weight: float) -> None:
        """A split below an edge; `path` holds the last edge of each column asked above it."""
        number, column = len(self._splits), split.column
        self._splits.append((column, split.threshold, int(split.missing_left)))
        self._above.append(above)
        if split.members is None:
            self._sets.append((-1, 0))
        else:
            words = [0] * ((max(split.members, default=0) >> 5) + 1)
            for member in split.members:
                words[member >> 5] |= 1 << (member & 31)
            self._sets.append((len(self._words), len(words)))
            self._words += words
        before = path.get(column, 0)
        so_far = self._edges[before][3]
        total = split.left.cover + split.right.cover
        at = len(self._edges)
        for child in (split.left, split.right):
            value = weight * child.value if isinstance(child, _Leaf) else 0.0
            share = max(so_far * child.cover / total, _LEAST_SHARE)
            self._edges.append((-1, value, before, share))
        for edge, child in ((at, split.left), (at + 1, split.right)):
            below = {**path, column: edge}
            if isinstance(child, _Leaf):
                self._longest = max(self._longest, len(below))
                continue
            self._edges[edge] = (len(self._splits), *self._edges[edge][1:])
            self._write(child, edge, below, weight)
        assert at == 1 + 2 * number, "edges are numbered by their split"


def _columns(rows: Sequence[tuple[Any, ...]], size: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * size


def _points(num_blocks: int) -> NDArray[np.float32]:
    """Gauss and Legendre's points and weights on [0, 1] [B, 2, 4]: four, eight, ... of them."""
    blocks: list[NDArray[np.float64]] = []
    for count in range(1, num_blocks + 1):
        points, weights = np.polynomial.legendre.leggauss(4 * count)
        rule = np.stack([(points + 1) / 2, weights / 2])
        blocks += [rule[:, 4 * i : 4 * i + 4] for i in range(count)]
    return np.stack(blocks).astype(np.float32)


def _of_lightgbm(content: bytes) -> Grown:
    model = lightgbm.Booster(model_str=content.decode()).dump_model()
    num_scores = model["num_tree_per_iteration"]
    trees = [
        (number % num_scores, _lightgbm_node(tree["tree_structure"]))
        for number, tree in enumerate(model["tree_info"])
    ]
    return Grown(trees, np.zeros(num_scores))


def _lightgbm_node(node: Mapping[str, Any]) -> _Split | _Leaf:
    if "split_feature" not in node:  # a tree of one leaf has no count
        return _Leaf(node["leaf_value"], node.get("leaf_count", 1))
    members, threshold = None, np.float32(0)
    missing_left = node["default_left"]
    if node["decision_type"] == "==":
        members = tuple(int(name) for name in str(node["threshold"]).split("||"))
    else:
        threshold = _rounded_down(node["threshold"])
        if node["missing_type"] == "None":  # training saw no missing value, and takes one for 0
            missing_left = node["threshold"] >= 0.0
    return _Split(
        node["split_feature"],
        threshold,
        members,
        missing_left,
        _lightgbm_node(node["left_child"]),
        _lightgbm_node(node["right_child"]),
        node["internal_count"],
    )


def _of_xgboost(content: bytes) -> Grown:
    learner = json.loads(content)["learner"]
    model = learner["gradient_booster"]["model"]
    bias = np.array(json.loads(learner["learner_model_param"]["base_score"]), np.float64).ravel()
    if learner["objective"]["name"] == "binary:logistic":
        bias = np.log(bias / (1 - bias))
    trees = [
        (output, _xgboost_tree(tree))
        for output, tree in zip(model["tree_info"], model["trees"], strict=True)
    ]
    return Grown(trees, bias)


def _xgboost_tree(tree: Mapping[str, Sequence[Any]]) -> _Split | _Leaf:
    members = {
        node: tuple(tree["categories"][first : first + size])
        for node, first, size in zip(
            tree["categories_nodes"],
            tree["categories_segments"],
            tree["categories_sizes"],
            strict=True,
        )
    }

    def node_of(number: int) -> _Split | _Leaf:
        left, right = tree["left_children"][number], tree["right_children"][number]
        cover, condition = tree["sum_hessian"][number], np.float32(tree["split_conditions"][number])
        if left < 0:
            return _Leaf(float(condition), cover)
        column, is_default = tree["split_indices"][number], bool(tree["default_left"][number])
        if tree["split_type"][number]:  # its set goes to the right
            sides = node_of(right), node_of(left)
            return _Split(column, np.float32(0), members[number], not is_default, *sides, cover)
        threshold = np.nextafter(condition, np.float32(-np.inf))  # below, where ours is up to
        return _Split(column, threshold, None, is_default, node_of(left), node_of(right), cover)

    return node_of(0)


def _rounded_down(threshold: float) -> np.float32:
    """The greatest 32-bit number up to a 64-bit one: no 32-bit value lies between them."""
    with np.errstate(over="ignore"):  # of one beyond them all, which only NaN is sent away from
        rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded


_READERS: Mapping[str, Callable[[bytes], Grown]] = {
    "lightgbm": _of_lightgbm,
    "xgboost": _of_xgboost,
}
