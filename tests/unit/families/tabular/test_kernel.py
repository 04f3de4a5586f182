import numpy as np
import pytest
import torch

from spt_core.families.tabular.compiled import answer_student
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.exporting import kernel_of
from spt_core.families.tabular.kernel import kernel_from_bytes
from spt_core.families.tabular.runtimes import KernelRuntime, compile_ahead
from tests.unit.families.tabular.tables import CONFIG, rows, signature, student

SHAPES = {
    "numbers": (4, ()),
    "one number": (1, ()),
    "categories": (0, (3, 5)),
    "one category of one value": (0, (1,)),
    "a category without values": (2, (0, 3)),
    "numbers and categories": (3, (2, 40, 4)),
}


class NoBatches:
    """Stands where batches go, and must not be asked."""

    def score(self, features):
        raise AssertionError(features.shape)

    explain = score


def assert_answers_alike(network, features):
    runtime = KernelRuntime(kernel_of(network), NoBatches())
    with torch.no_grad():
        wanted, wanted_effects = network.explain(torch.from_numpy(features))
    assert torch.isfinite(wanted_effects).all()
    for index in range(len(features)):
        row = features[index : index + 1]
        probability, effects = runtime.explain(row)
        np.testing.assert_allclose(probability, wanted[index : index + 1], atol=1e-5, rtol=0)
        np.testing.assert_allclose(runtime.score(row), probability, atol=1e-12, rtol=0)
        np.testing.assert_allclose(effects[0], wanted_effects[index], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_kernel_answers_like_the_student(shape):
    signed = signature(*shape)
    assert_answers_alike(student(signed), rows(signed))


@pytest.mark.parametrize("hidden", [(8,), (5, 9), (8, 4, 4)])
def test_any_depth_and_width_is_the_student(hidden):
    signed = signature(2, (3,))
    network = student(signed, TabularConfig(num_bins=6, student_hidden=hidden))
    assert_answers_alike(network, rows(signed))


@pytest.mark.parametrize("calibration", [(1.0, 1.0, 0.0), (0.05, 20.0, 3.0), (20.0, 0.05, -9.0)])
def test_any_calibration_is_the_student_s(calibration):
    signed = signature(3, (4,))
    network = student(signed)
    network.calibrate(calibration)
    assert_answers_alike(network, rows(signed))


def test_values_of_any_magnitude_are_finite_and_equal():
    signed = signature(4)
    features = rows(signed)
    features *= 10.0 ** np.linspace(-40, 37, len(features))[:, None].astype(np.float32)
    assert_answers_alike(student(signed), features)


def test_columns_without_any_value_or_with_one_are_the_student_s():
    signed = signature(3, (2,))
    sample = rows(signed)
    sample[:, 0], sample[:, 1] = float("nan"), 7.0
    assert_answers_alike(student(signed, CONFIG), sample)


def test_what_is_compiled_ahead_is_what_a_model_needs():
    compile_ahead()
    signed = signature(3, (4,))
    runtime = KernelRuntime(kernel_from_bytes(kernel_of(student(signed)).to_bytes()), NoBatches())
    runtime.explain(rows(signed)[:1])
    assert len(answer_student.signatures) == 1


def test_a_kernel_survives_its_file():
    made = kernel_of(student(signature(0, (3, 5))))
    found = kernel_from_bytes(made.to_bytes())
    for name, array in made._asdict().items():
        assert getattr(found, name).dtype == array.dtype
        assert np.array_equal(getattr(found, name), array)
