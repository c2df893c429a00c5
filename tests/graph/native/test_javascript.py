"""Generated JavaScript against the NumPy engine: every op with a rule, random programs, and training."""

import json
from contextlib import suppress

import numpy as np
import pytest
from helpers import SHIPPED
from node import Job, needs_node, run_jobs, run_node
from random_programs import compare, draw

import tensorgrad as tg
from tensorgrad.audit import SAMPLES
from tensorgrad.audit.native import bind
from tensorgrad.core import OPS
from tensorgrad.core.context import tracing
from tensorgrad.graph.export.c_elementwise import ELEMENTWISE
from tensorgrad.graph.export.lowerings import C_RULES
from tensorgrad.graph.native.expansions import Expansion
from tensorgrad.graph.native.javascript import (
    JAVASCRIPT_RULES,
    plan_graph,
    plan_plain,
    read_prelude,
    translate,
    write_javascript,
)
from tensorgrad.graph.native.plan import UnbatchableError, UnwritableError
from tensorgrad.graph.native.program import Program, Vectors
from tensorgrad.graph.native.record import UncompilableError, record
from tensorgrad.nn.between_steps import list_draws, list_reports

REFUSALS = UncompilableError, UnbatchableError, UnwritableError


def make_job(function, arrays, differentiate=True, **how):
    """A job of the function of arrays like these. It is recorded once: what is drawn anew would be told."""
    recording = record(function, arrays, [f"x{i}" for i in range(len(arrays))], differentiate)
    program = plan_graph(Expansion(recording, JAVASCRIPT_RULES))
    return Job(program, dict(zip(map(id, recording.inputs), arrays, strict=True)), **how)


def differentiate(function, parameters):
    """A loss of the parameters through an op, each of whose elements counts otherwise."""

    def loss():
        out = function(*parameters)
        weights = np.linspace(-1, 1, out.size).reshape(out.shape).astype(out.dtype)
        return tg.sum(out * weights)

    return loss


def find_job(function, arrays, differentiate=True, thorough=True):
    """The job, or None for what cannot be written in C either, which takes long to find out."""
    with suppress(UncompilableError):
        return make_job(function, arrays, differentiate)
    if thorough:
        with pytest.raises(REFUSALS):
            write_in_c(function, arrays, differentiate)
    return None


def write_in_c(function, arrays, differentiate):
    graph = Expansion(record(function, arrays, ["x"] * len(arrays), differentiate), C_RULES)
    Program(graph, C_RULES, None, Vectors(8, 1))


@needs_node
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_ops_give_what_numpy_does_and_their_gradients_too(dtype):
    jobs, expected = {}, {}
    for name in SHIPPED:
        for sample in SAMPLES[name]:
            function, arrays = bind(OPS[name], sample, dtype)
            label = f"{name}: {sample.label}"
            parameters = [tg.Parameter(x) if x.dtype.kind == "f" else x for x in arrays]
            for what, call, given in (
                (label, function, arrays),
                (f"{label}, gradients", differentiate(function, parameters), []),
            ):
                with np.errstate(all="ignore"):
                    job = find_job(call, given, given is not arrays, dtype == "float64")
                    if job is None:
                        continue
                    jobs[what], out = job, call(*given)
                    expected[what] = [np.asarray(out.data if isinstance(out, tg.Tensor) else out)]
                    if given is not arrays:
                        out.backward()
                        expected[what] += [p.grad for p, _ in jobs[what].program.graph.recording.gradients]
    assert len({name.partition(":")[0] for name in jobs}) >= len(C_RULES) - 10
    for what, answer in zip(jobs, run_jobs([*jobs.values()]), strict=True):
        assert answer.result == 0, what
        for found, exact in zip(answer.arrays, expected[what], strict=True):
            assert (found.shape, found.dtype) == (exact.shape, exact.dtype), what
            atol = 100 * np.finfo(dtype).eps * max(1.0, float(np.abs(exact).max(initial=0.0)))
            np.testing.assert_allclose(found, exact, rtol=0, atol=atol, err_msg=what)


@needs_node
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zeros_infinities_and_the_like_are_numpys(dtype):
    limits = np.finfo(dtype)
    ends = [np.inf, -np.inf, np.nan, limits.max, -limits.max, limits.tiny, 2.0**24 + 1]
    numbers = np.array([0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 0.7, -7.25, 1e-30, 1e10, *ends], dtype)
    jobs, expected, names = [], [], []
    for name in ELEMENTWISE.keys() - {"astype", "gate", "ldexp", "normalize", "where"}:
        op = OPS.get(name) or getattr(np, name)
        count = op.nin if isinstance(op, np.ufunc) else len(op.arrays)
        arrays = [x.ravel() for x in np.meshgrid(*[numbers] * count)]
        with np.errstate(all="ignore"):
            exact = np.asarray(op(*arrays))
            real = (
                (lambda *x, op=op: op(*x))
                if exact.dtype.kind == "f"
                else lambda *x, op=op: tg.astype(op(*x), dtype=dtype)
            )
            jobs.append(make_job(real, arrays, False))
        expected.append(exact.astype(dtype))
        names.append(name)
    for name, exact, answer in zip(names, expected, run_jobs(jobs), strict=True):
        (found,) = answer.arrays
        np.testing.assert_allclose(
            found, exact, rtol=1e-12 if dtype == "float64" else 1e-6, atol=1e-40, err_msg=name
        )
        if name.startswith(("logical", "is")) or name in (
            "equal",
            "less",
            "multiply",
            "divide",
            "rint",
            "copysign",
        ):
            np.testing.assert_array_equal(np.signbit(found), np.signbit(exact), err_msg=name)


OPTIMIZERS = [
    ("MiniBatchSGD", {"learning_rate": 0.05}),
    ("MiniBatchSGD", {"learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.01}),
    ("MiniBatchSGD", {"learning_rate": 0.02, "momentum": 0.8, "nesterov": True, "clip_value": 0.01}),
    ("MiniBatchSGD", {"learning_rate": 0.05, "momentum": 0.9, "dampening": 0.5, "clip_norm": 0.05}),
    (
        "MiniBatchSGD",
        {
            "learning_rate": 0.05,
            "weight_decay": 0.1,
            "decoupled_weight_decay": True,
            "clip_value": 0.1,
            "clip_norm": 0.2,
        },
    ),
    ("Adam", {"learning_rate": 0.01, "eps": 1e-3}),
    (
        "Adam",
        {"learning_rate": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1, "clip_norm": 0.1},
    ),
    ("Adam", {"learning_rate": 0.01, "eps": 1e-3, "amsgrad": True, "clip_value": 0.05}),
    ("AdamW", {"learning_rate": 0.01, "eps": 1e-3}),
    ("AdamW", {"learning_rate": 0.01, "eps": 1e-3, "amsgrad": True, "weight_decay": 0.2, "clip_norm": 0.1}),
]


def dense(rng):
    net = tg.Network([tg.Dense(5, 8, rng=0), tg.Tanh(), tg.Dense(8, 3, rng=1)])
    return net, (rng.standard_normal((6, 5)).astype("f"), rng.integers(0, 3, 6))


def convolutional(rng):
    net = tg.Network(
        [
            tg.Conv2D(1, 3, 3, padding=1, rng=0),
            tg.ReLU(),
            tg.MaxPool2D(2),
            tg.Flatten(),
            tg.Dense(27, 3, rng=1),
        ]
    )
    return net, (rng.standard_normal((4, 6, 6, 1)).astype("f"), rng.integers(0, 3, 4))


def normalized(rng):
    images = [tg.Conv2D(2, 3, 2, rng=0), tg.BatchNorm(3), tg.GELU(), tg.AvgPool2D(2), tg.Flatten()]
    net = tg.Network([*images, tg.LayerNorm(12), tg.Dense(12, 3, rng=1)])
    return net, (rng.standard_normal((4, 5, 5, 2)).astype("f"), rng.integers(0, 3, 4))


def dropping(rng):
    net = tg.Network([tg.Dense(5, 8, rng=0), tg.ReLU(), tg.Dropout(0.4, rng=2), tg.Dense(8, 3, rng=1)])
    mask = (rng.random((6, 8)) < 0.6) / np.float32(0.6)
    net.layers[2]._draw = lambda like: mask
    return net, (rng.standard_normal((6, 5)).astype("f"), rng.integers(0, 3, 6))


def looking_up(rng):
    net = tg.Network([tg.Embedding(7, 4, rng=0), tg.Flatten(), tg.Dense(12, 3, rng=1)])
    return net, (rng.integers(0, 7, (5, 3)), rng.integers(0, 3, 5))


RUNS = [(make, *optimizer) for make in (dense, convolutional) for optimizer in OPTIMIZERS]
RUNS += [(make, *OPTIMIZERS[k]) for make in (normalized, dropping, looking_up) for k in (2, 7)]
STEPS = 100


def train(make, kind, options):
    """The job of a training, with the losses and the parameters that the NumPy engine comes to."""
    net, arrays = make(np.random.default_rng(0))
    loss = lambda x, y: tg.cross_entropy(net(x), y)
    job = make_job(loss, arrays, optimizer=kind, options=options, steps=STEPS)
    job.values.update({id(t): make() for t, make in job.program.graph.recording.draws})
    parameters = [p for p, _ in job.program.graph.recording.gradients]
    job.values.update({id(p): p.data.copy() for p in parameters})
    optimizer, losses = getattr(tg, kind)(parameters, **options), []
    for _ in range(STEPS):
        out = loss(*arrays)
        out.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(out.item())
    return job, losses, [p.data for p in parameters]


def hold_trainings(runs, evaluate=None):
    trained = [train(*run) for run in runs]
    answers = run_jobs([job for job, *_ in trained], evaluate)
    for run, (_, losses, parameters), answer in zip(runs, trained, answers, strict=True):
        assert answer.result == 0, run
        assert losses[-1] < losses[0], run
        np.testing.assert_allclose(answer.losses, losses, atol=1e-5, err_msg=str(run))
        for found, exact in zip(answer.arrays, parameters, strict=True):
            np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5, err_msg=str(run))


@needs_node
def test_networks_train_as_by_numpy_for_a_hundred_steps():
    hold_trainings(RUNS)


def test_networks_train_so_in_a_browser_too(browser):
    hold_trainings([RUNS[3], RUNS[16], RUNS[17]], browser.run)
    assert browser.problems == []


@needs_node
def test_what_layers_do_between_steps_can_be_done_there():
    norm, dropout = tg.BatchNorm(2, momentum=0.3, dtype=float), tg.Dropout(0.25, rng=0)
    x = np.random.default_rng(0).standard_normal((5, 2))
    program = plan_plain(lambda x: tg.sum(dropout(norm(x))), [x])
    ((argument, drawer, keep),) = list_draws(program.graph.recording)
    ((output, reporter, how),) = list_reports(program.graph.recording)
    assert (drawer, reporter) == (dropout, norm)
    mask = program.graph.recording.draws[0][1]()
    job = Job(program, {id(program.graph.recording.inputs[0]): x, id(argument): mask})
    mean, variance = (answer := run_jobs([job])[0]).arrays[output : output + 2]
    script = f"""
    const arrays = {json.dumps([[0, 0], [1, 1], mean.tolist(), variance.tolist()])};
    moveRunning(...arrays, {json.dumps(how)});
    moveRunning(...arrays.slice(0, 2), [NaN, 0], [1, 1], {json.dumps(how)});
    const mask = new Float64Array(8), numbers = [0, 0.74, 0.75, 0.9];
    let count = 0;
    drawMask(mask, {json.dumps(keep)}, () => numbers[count++ % 4]);
    JSON.stringify([...arrays.slice(0, 2), Array.from(mask)])"""
    running_mean, running_variance, drawn = json.loads(run_node(read_prelude() + script))
    norm(x)
    np.testing.assert_allclose(running_mean, norm.running_mean.data, rtol=1e-12)
    np.testing.assert_allclose(running_variance, norm.running_variance.data, rtol=1e-12)
    assert drawn == [1 / 0.75, 1 / 0.75, 0, 0] * 2
    assert {*np.unique(mask)} == {0, 1 / 0.75}
    assert answer.result == 0


class Noise(tg.Layer):
    """Draws what nobody knows."""

    def forward(self, x):
        return x + tracing.get().draw(lambda: np.ones(2))


def test_what_another_layer_draws_is_refused():
    recording = record(lambda x: tg.sum(Noise()(x)), [np.ones(2)], ["x"], False)
    with pytest.raises(UncompilableError, match=r"Noise.forward.*draws numbers.*not known in JavaScript"):
        list_draws(recording)


def hold_random_programs(seeds):
    """Values and gradients, of both dtypes; what C cannot write either is left out."""
    jobs, expected = [], []
    for seed in seeds:
        dtype = np.dtype((np.float32, np.float64)[seed % 2])
        drawn = [draw(seed, d) for d in (dtype, np.float32, np.float64)]
        job = find_job(drawn[0].loss, drawn[0].arrays)
        if job is None:
            continue
        jobs.append(job)
        jobs[-1].values.update({id(t): make() for t, make in jobs[-1].program.graph.recording.draws})
        reached = [p for p, _ in jobs[-1].program.graph.recording.gradients]
        places = [next(k for k, p in enumerate(drawn[0].parameters) if p is leaf) for leaf in reached]
        expected.append(
            (f"seed {seed}: {drawn[0].name}", dtype, *(differentiated(p, places) for p in drawn[1:]))
        )
    for (name, dtype, *exact), job, answer in zip(expected, jobs, run_jobs(jobs), strict=True):
        assert answer.result == 0, name
        reported = len(job.program.outputs) - 1
        compare(name, dtype, [answer.arrays[0], *answer.arrays[1 + reported :]], *exact)


def differentiated(program, places):
    out = program.loss(*program.arrays)
    out.backward()
    return [out.data, *(program.parameters[k].grad for k in places)]


@needs_node
def test_random_programs():
    with np.errstate(all="ignore"):
        hold_random_programs(range(20))


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_random_programs(part):
    with np.errstate(all="ignore"):
        hold_random_programs(range(100 + 50 * part, 150 + 50 * part))


@pytest.mark.parametrize(
    "line",
    [
        "x_[i] = (whole)y_[i];", "x_[i] = y_[i / 2];", "x_[i] = unknown(y_[i]);", "x_[i] = --y_[i];",
        "x_[i] = 2147483648;", "memset(x_, 0, 3);", "long n = 3;", "x_[i] = y_[i] >> 1;", "x_ = &y_->x;",
    ],
)  # fmt: skip
def test_a_form_of_c_that_is_not_known_is_refused(line):
    with pytest.raises(UncompilableError, match="there is no JavaScript for"):
        translate(line)


def test_an_op_without_a_rule_is_named():
    with pytest.raises(UncompilableError, match="no rule for inv in JavaScript"):
        plan_plain(np.linalg.inv, [np.eye(2)])


@needs_node
def test_wrong_use_is_refused_and_what_is_not_finite_moves_nothing():
    program = plan_plain(lambda x: tg.sum(x), [np.ones(3)])
    calls = [
        'makeOptimizer("Adagrad")',
        'makeOptimizer("Adam", { momentum: 0.9 })',
        'makeOptimizer("MiniBatchSGD")',
        'makeOptimizer("MiniBatchSGD", { learning_rate: 0.1, nesterov: true })',
        'makeOptimizer("Adam", { learning_rate: NaN })',
        'makeOptimizer("Adam").step([new Float64Array(3)], [new Float64Array(2)])',
        "step([new Float64Array(2)], [new Float64Array(1)])",
    ]
    script = f"""{write_javascript(program, "step")}
    const told = [{", ".join(f"() => {call}" for call in calls)}].map((call) => {{
      try {{ call(); return ""; }} catch (error) {{ return error.message; }}
    }});
    const x = Float64Array.of(1, 2), adam = makeOptimizer("Adam");
    told.push(String(adam.step([x], [Float64Array.of(1, NaN)])), x.join(), String(adam.steps));
    JSON.stringify(told)"""
    assert json.loads(run_node(read_prelude() + script)) == [
        "makeOptimizer: there is no Adagrad",
        "Adam: there is no option momentum",
        "MiniBatchSGD: learning_rate cannot be null",
        "MiniBatchSGD: nesterov needs a momentum above 0",
        "Adam: learning_rate cannot be NaN",
        "Adam: expected arrays of 3 numbers as gradients, got 2",
        "step: expected arrays of 3 numbers as given, got 2",
        *("false", "1,2", "0"),
    ]
