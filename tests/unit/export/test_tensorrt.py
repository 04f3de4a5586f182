"""TensorRT without a GPU: what is refused, what is named how, and calls that fit together."""

import dataclasses
import importlib
import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from spt_core.artifacts import GRAPH, has_manifest, write_bytes
from spt_core.compression.qdq import qdq_graph
from spt_core.compression.quantize import quantized_graph
from spt_core.errors import (
    CorruptArtifactError,
    InputError,
    MachineError,
    MissingPackageError,
    NotFoundError,
    ParityError,
)
from spt_core.export.tensorrt import (
    build_engine,
    check_graph,
    engine_of,
    proven,
    refit,
    structure,
)
from spt_core.families import tensorrt as module
from spt_core.families.onnx import open_session
from spt_core.families.serving import ON_GPU, SERVING
from spt_core.families.tensorrt import (
    PLAN,
    PROVIDER,
    Device,
    Engine,
    SessionRuntime,
    Shape,
    engine_name,
    provider_options,
    provider_session,
    tensorrt_library,
    this_device,
)
from spt_core.model import default_policy, open_answerer
from spt_core.task import find
from tests.fake_tensorrt import BROKEN, Fakes, with_other_weights
from tests.kept_exports import kept_export
from tests.tiny_models import COMPLIANCE, tiny_text_artifact

SHAPES = {"features": Shape((1, 3), (1, 24), (16, 24))}
DEVICE = Device(gpu="GPU", capability="9.0", driver="580.1", tensorrt="11.4.0")


@pytest.fixture
def fakes(monkeypatch):
    made, real = Fakes(), importlib.import_module
    monkeypatch.setattr(
        module.importlib, "import_module", lambda name: made.modules.get(name) or real(name)
    )
    return made


@pytest.fixture
def one(tmp_path):
    """An export of its own: engines are written beside it."""
    return own(tmp_path, seed=0)


def own(tmp_path, *, seed):
    return kept_export(tiny_text_artifact(find(COMPLIANCE), tmp_path.as_uri(), seed=seed))


def graph(op_type="Identity", *, domain="", opset=18, dims=("windows", "tokens")):
    node = helper.make_node(op_type, ["features"], ["out"], "the node", domain=domain)
    shape = [helper.make_tensor_value_info(n, TensorProto.FLOAT, dims) for n in ("features", "out")]
    made = helper.make_graph([node], "one", shape[:1], shape[1:])
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString()


def test_a_graph_of_onnx_s_own_operators_is_taken():
    check_graph(graph(), SHAPES)
    check_graph(graph(dims=(16, "tokens")), {"features": Shape((16, 1), (16, 2), (16, 2))})


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (graph(opset=8), "opsets 9 to 25, however: this graph has 8"),
        (graph(opset=26), "opsets 9 to 25, however: this graph has 26"),
        (graph("DynamicQuantizeLinear"), "'the node' is DynamicQuantizeLinear"),
        (graph("MatMulInteger"), "'the node' is MatMulInteger"),
        (graph("ConvInteger"), "'the node' is ConvInteger"),
        (graph("Attention", domain="com.microsoft"), "is Attention of com.microsoft"),
    ],
)
def test_what_tensorrt_does_not_take_is_refused_by_name(content, fact):
    with pytest.raises(InputError, match=fact):
        check_graph(content, SHAPES)


@pytest.mark.parametrize(
    ("shapes", "fact"),
    [
        ({}, "'features' has none"),
        ({"pairs": Shape((1,), (1,), (1,))}, "'features' has none; there are: pairs"),
        ({"features": Shape((1,), (1,), (1,))}, r"'features' is \['\?', '\?'\]"),
        ({"features": Shape((2, 3), (1, 3), (4, 3))}, "must rise"),
        ({"features": Shape((0, 3), (1, 3), (4, 3))}, "must rise"),
    ],
)
def test_each_input_needs_shapes_that_it_can_have(shapes, fact):
    with pytest.raises(InputError, match=fact):
        check_graph(graph(), shapes)


def test_a_fixed_dimension_is_none_of_a_range():
    with pytest.raises(InputError, match=r"\[16, '\?'\]"):
        check_graph(graph(dims=(16, "tokens")), SHAPES)


def test_an_engine_s_name_is_of_all_that_it_depends_on():
    wider = {"features": Shape((1, 3), (1, 24), (16, 32))}
    other = [
        dataclasses.replace(DEVICE, **{field.name: "another"})
        for field in dataclasses.fields(Device)
    ]
    names = [
        engine_name(b"graph", SHAPES, DEVICE),
        engine_name(b"graphs", SHAPES, DEVICE),
        engine_name(b"graph", wider, DEVICE),
        *(engine_name(b"graph", SHAPES, device) for device in other),
    ]
    assert len(set(names)) == len(names) == 7
    assert engine_name(b"graph", dict(SHAPES), dataclasses.replace(DEVICE)) == names[0]
    assert names[0].startswith("tensorrt-")


@pytest.mark.parametrize("call", [this_device, lambda: Engine(b""), lambda: refit(b"", b"")])
def test_without_the_library_a_sentence_says_what_to_install(call, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"'.\[tensorrt\]', with NVIDIA's"):
        call()


def test_an_older_library_is_refused(fakes):
    assert tensorrt_library() is fakes.modules["tensorrt"]
    fakes.modules["tensorrt"].__version__ = "11.3.0.12"
    with pytest.raises(MissingPackageError, match="TensorRT 11.4 or later, however: this is 11.3"):
        tensorrt_library()


def test_a_device_is_named_by_gpu_driver_and_library(fakes):
    assert this_device() == Device(
        gpu="Fake GPU", capability="9.0", driver="580.95.05", tensorrt="11.4.0.106"
    )
    fakes.fails = "properties"
    with pytest.raises(MachineError, match="however: cudaErrorNoDevice"):
        this_device()


def test_a_session_on_the_provider_is_refused_where_there_is_none(tmp_path):
    with pytest.raises(MissingPackageError, match=f"{PROVIDER}, however: .*CPU.*onnxruntime-gpu"):
        provider_session(graph(), SHAPES, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_it_falls_back_where_that_is_asked_for_and_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        session = provider_session(graph(), SHAPES, tmp_path, allow_fallback=True)
    assert session.provider == "CPUExecutionProvider"
    assert "may be fallen back from: CPUExecutionProvider runs" in caplog.text
    features = np.ones((2, 3), np.float32)
    assert (session.run({"features": features, "pairs": features})["out"] == features).all()


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_is_there_but_does_not_load_is_no_fall_back(tmp_path, monkeypatch):
    """ONNX Runtime would print the error and go on on the processor."""
    monkeypatch.setattr(module.onnxruntime, "get_available_providers", lambda: [PROVIDER])
    with pytest.raises(MachineError, match="must take the whole graph, however: "):
        provider_session(graph(), SHAPES, tmp_path)


def test_the_provider_s_options_hold_the_profile(tmp_path):
    shapes = {**SHAPES, "pairs": Shape((1, 5), (1, 5), (128, 5))}
    options = provider_options(shapes, tmp_path)
    assert options["trt_profile_min_shapes"] == "features:1x3,pairs:1x5"
    assert options["trt_profile_opt_shapes"] == "features:1x24,pairs:1x5"
    assert options["trt_profile_max_shapes"] == "features:16x24,pairs:128x5"
    assert options["trt_engine_cache_path"] == str(tmp_path)


def test_weights_are_no_part_of_a_structure_and_scales_are():
    content = graph()
    assert structure(content) != structure(graph("Neg"))
    draw = np.random.default_rng(0)
    weights = draw.normal(size=(4, 4)).astype(np.float32)
    first, second = (linear(weights * factor) for factor in (1.0, 2.0))
    assert structure(first) == structure(second)
    assert structure(first) != structure(linear(weights[:, :2]))
    feeds = [{"features": weights}]
    assert structure(qdq_graph(first, feeds)) != structure(qdq_graph(second, feeds))


def linear(weights):
    made = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["out"])],
        "one",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", weights.shape[0]])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", weights.shape[1]])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def test_an_engine_is_built_refittable_in_full_precision_and_for_its_shapes(fakes):
    assert build_engine(graph(), SHAPES) == graph()
    assert {"+refit", "-tf32", "features ((1, 3), (1, 24), (16, 24))"} <= set(fakes.calls)
    fakes.fails = "build"
    with pytest.raises(MachineError, match="must build an engine"):
        build_engine(graph(), SHAPES)
    fakes.parses = False
    with pytest.raises(InputError, match=r"take the graph, however: no such layer \(node 7\)"):
        build_engine(graph(), SHAPES)


def test_an_engine_s_buffers_grow_and_are_freed_with_it(fakes):
    engine = Engine(graph())
    for num_windows in (1, 9, 2):
        features = np.random.default_rng(0).normal(size=(num_windows, 3)).astype(np.float32)
        assert (engine.run({"features": features})["out"] == features).all()
        assert len(fakes.memory) == 2
    with pytest.raises(InputError, match=r"built for, however: features is \[129, 3\]"):
        engine.run({"features": np.ones((129, 3), np.float32)})
    fakes.fails = "synchronize"
    with pytest.raises(MachineError, match="cudaErrorNoDevice"):
        engine.run({"features": np.ones((1, 3), np.float32)})
    del engine
    assert not fakes.memory
    assert fakes.calls == ["destroy"]


def test_a_plan_of_another_machine_is_refused(fakes):
    with pytest.raises(MachineError, match="one of this GPU, driver and TensorRT"):
        Engine(BROKEN)
    with pytest.raises(MachineError, match="must be readable to be refitted"):
        refit(BROKEN, graph())


def test_a_refit_that_leaves_weights_is_refused(fakes):
    assert refit(graph(), graph("Neg")) == graph("Neg")
    fakes.missing = ["layer.weight"]
    with pytest.raises(MachineError, match="1 are missing, such as layer.weight"):
        refit(graph(), graph())


@pytest.mark.slow
def test_tables_have_no_engine(export):
    with pytest.raises(InputError, match=r"GPUs serve \(text\), however: .*'tabular'"):
        engine_of(export)


@pytest.mark.slow
def test_the_graphs_of_texts_are_taken_and_int8_for_processors_is_not(text_export):
    shapes, content = ON_GPU["text"].shapes(text_export), text_export.read(GRAPH)
    assert shapes["pairs"].maximum == (128, 5)
    assert shapes["features"].maximum == (128, 24)  # each pair may lie in a window of its own
    check_graph(content, shapes)
    with pytest.raises(InputError, match=r"is DynamicQuantizeLinear|is MatMulInteger"):
        check_graph(quantized_graph(content), shapes)


@pytest.mark.slow
def test_shapes_hold_all_that_a_predictor_asks(text_export):
    shapes = ON_GPU["text"].shapes(text_export)
    predictor = SERVING["text"].open(text_export.artifact, text_export.read)
    long = predictor.read({"text": "Aspirin and warfarin and ibuprofen. " * 40})
    feeds = list(ON_GPU["text"].feeds(predictor, [long, predictor.read({"text": "a aspirin"})]))
    assert max(len(feed["features"]) for feed in feeds) > 16
    for feed in feeds:
        for name, array in feed.items():
            assert (np.array(shapes[name].minimum) <= array.shape).all()
            assert (np.array(shapes[name].maximum) >= array.shape).all()


@pytest.mark.slow
def test_an_engine_is_proven_kept_beside_its_export_and_found_again(one, fakes):
    made = engine_of(one)
    assert made.refitted_from == ""
    assert set(made.parity) == {"logits", "shares", "scale", "probability"}
    assert made.uri.startswith(f"{one.uri}/tensorrt-")
    assert fakes.calls.count("build") == 1
    assert engine_of(one) == made
    assert fakes.calls.count("build") == 1
    fakes.driver = "590.1"
    assert engine_of(one).uri != made.uri
    assert fakes.calls.count("build") == 2


@pytest.mark.slow
def test_an_engine_that_answers_otherwise_is_refused(one):
    other = with_other_weights(one.read(GRAPH), factor=1.5)
    with pytest.raises(ParityError, match="answer like ONNX Runtime within 0.001, however: logits"):
        proven(one, SessionRuntime(open_session(other)))


@pytest.mark.slow
def test_an_earlier_model_s_engine_is_refitted_and_proven(tmp_path, fakes):
    first, second = (own(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert structure(first.read(GRAPH)) == structure(second.read(GRAPH))
    engine_of(first)
    made = engine_of(second, earlier=[first])
    assert made.refitted_from == first.uri
    assert fakes.calls.count("build") == 1
    assert has_manifest(made.uri)
    assert engine_of(second) == made


@pytest.mark.slow
def test_where_a_refit_fails_an_engine_is_built(tmp_path, fakes):
    first, second = (own(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    engine_of(first)
    fakes.missing = ["layer.weight"]
    assert engine_of(second, earlier=[first]).refitted_from == ""
    assert fakes.calls.count("build") == 2


@pytest.mark.slow
def test_a_replica_runs_the_engine_of_its_own_gpu_or_says_that_there_is_none(one, fakes):
    policy = default_policy(one)
    with pytest.raises(NotFoundError, match="however: .* none for Fake GPU with driver 580.95.05"):
        open_answerer(one, policy, runtime="tensorrt")
    engine_of(one)
    on_gpu, on_cpu = open_answerer(one, policy, runtime="tensorrt"), open_answerer(one, policy)
    record = find(COMPLIANCE).example
    assert on_gpu.answer(record) == on_cpu.answer(record)
    assert SERVING["text"].probe_gap(on_gpu.predictor, one.probes) <= 1e-6
    write_bytes(f"{engine_of(one).uri}/{PLAN}", b"another")
    with pytest.raises(CorruptArtifactError):
        open_answerer(one, policy, runtime="tensorrt")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt_provider"])
def test_a_replica_without_the_library_never_falls_back_in_silence(text_export, runtime):
    with pytest.raises(MissingPackageError, match="TensorRT needs the package of tensorrt"):
        open_answerer(text_export, default_policy(text_export), runtime=runtime)


@pytest.mark.slow
def test_a_replica_falls_back_where_its_operator_asked_for_it(text_export, caplog):
    policy = default_policy(text_export)
    answerer = open_answerer(text_export, policy, runtime="tensorrt_provider_or_cpu")
    assert SERVING["text"].probe_gap(answerer.predictor, text_export.probes) <= 1e-4
    assert "CPUExecutionProvider runs" in caplog.text


@pytest.mark.slow
def test_tables_run_on_processors_whatever_replicas_have(export):
    policy, record = default_policy(export), find(export.artifact.task).example
    answers = [
        open_answerer(export, policy, runtime=r).answer(record) for r in ("onnx", "tensorrt")
    ]
    assert answers[0] == answers[1]
