"""Schedules against PyTorch's of the same settings, their composition, their states, and what they refuse."""

import copy
import math

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg

RATES = (0.1, 0.003)


def optimizer_of(rates=RATES):
    groups = [{"parameters": [tg.Parameter(float(i))], "learning_rate": rate} for i, rate in enumerate(rates)]
    return tg.MiniBatchSGD(groups, 1.0)


def rates_of(optimizer):
    return [group.learning_rate for group in optimizer.groups]


def course(schedule, steps, metrics=None):
    """The rates before each step, and after the last."""
    found = [rates_of(schedule.optimizer)]
    for i in range(steps):
        schedule.step(*([] if metrics is None else [metrics[i]]))
        found.append(rates_of(schedule.optimizer))
    return np.array(found)


def torchs_course(make, steps, metrics=None):
    torch = pytest.importorskip("torch", reason="torch, the oracle of schedules, is not installed")
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in RATES]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    schedule = make(torch.optim.lr_scheduler, optimizer)
    found = [[group["lr"] for group in optimizer.param_groups]]
    for i in range(steps):
        optimizer.step()
        schedule.step(*([] if metrics is None else [metrics[i]]))
        found.append([group["lr"] for group in optimizer.param_groups])
    return np.array(found)


def warm_torch(schedulers, optimizer, total, start, then):
    first = schedulers.LinearLR(optimizer, start_factor=start, end_factor=1.0, total_iters=total)
    return schedulers.SequentialLR(optimizer, [first, then], milestones=[total])


PAIRS = {
    "step": (lambda o: tg.StepDecay(o, 3, 0.5), lambda s, o: s.StepLR(o, 3, 0.5), 10),
    "step at": (
        lambda o: tg.StepDecay(o, [2, 3, 7], 0.2),
        lambda s, o: s.MultiStepLR(o, [2, 3, 7], 0.2),
        10,
    ),
    "exponential": (lambda o: tg.ExponentialDecay(o, 0.97), lambda s, o: s.ExponentialLR(o, 0.97), 200),
    "cosine": (lambda o: tg.CosineDecay(o, 50), lambda s, o: s.CosineAnnealingLR(o, 50), 50),
    "cosine to a minimum": (
        lambda o: tg.CosineDecay(o, 7, minimum=0.002),
        lambda s, o: s.CosineAnnealingLR(o, 7, eta_min=0.002),
        7,
    ),
    "one cycle": (
        lambda o: tg.OneCycle(o, 40),
        lambda s, o: s.OneCycleLR(o, list(RATES), total_steps=40, cycle_momentum=False),
        39,
    ),
    "one cycle, all options": (
        lambda o: tg.OneCycle(o, 23, rising=0.45, start_divisor=10, end_divisor=50),
        lambda s, o: s.OneCycleLR(
            o,
            list(RATES),
            total_steps=23,
            pct_start=0.45,
            div_factor=10,
            final_div_factor=50,
            cycle_momentum=False,
        ),
        22,
    ),
    "warm-up alone": (
        lambda o: tg.WarmUp(o, 5, start=0.2),
        lambda s, o: s.LinearLR(o, start_factor=0.2, total_iters=5),
        12,
    ),
    "warm-up then cosine": (
        lambda o: tg.WarmUp(tg.CosineDecay(o, 20, minimum=1e-4), 6, start=0.1),
        lambda s, o: warm_torch(s, o, 6, 0.1, s.CosineAnnealingLR(o, 20, eta_min=1e-4)),
        26,
    ),
    "warm-up then steps": (
        lambda o: tg.WarmUp(tg.StepDecay(o, 2), 3, start=0.5),
        lambda s, o: warm_torch(s, o, 3, 0.5, s.StepLR(o, 2)),
        15,
    ),
}
every_schedule = pytest.mark.parametrize("name", PAIRS)


@every_schedule
def test_the_rates_of_all_groups_are_torchs(name):
    ours, theirs, steps = PAIRS[name]
    found = course(ours(optimizer_of()), steps)
    np.testing.assert_allclose(found, torchs_course(theirs, steps), rtol=1e-10, atol=1e-15)
    assert not np.allclose(found[:, 0], found[0, 0])


PLATEAUS = [
    {},
    {"factor": 0.5, "patience": 2},
    {"factor": 0.5, "patience": 0},
    {"factor": 0.3, "patience": 1, "cooldown": 3},
    {"factor": 0.3, "patience": 0, "threshold": 0.2},
    {"factor": 0.3, "patience": 0, "threshold": 0.2, "relative": False},
    {"factor": 0.1, "patience": 1, "minimum": 2e-3},
    {"factor": 0.5, "patience": 2, "mode": "max"},
    {"factor": 0.5, "patience": 2, "mode": "max", "threshold": 0.1, "cooldown": 1},
    {"factor": 0.5, "patience": 2, "mode": "max", "threshold": 0.1, "relative": False},
]


@pytest.mark.parametrize("setting", PLATEAUS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_plateaus_are_torchs(setting, seed):
    rng = np.random.default_rng(seed)
    steps = 60
    metrics = list(np.exp(-np.linspace(0, 2, steps)) + 0.1 * rng.random(steps))
    if setting.get("mode") == "max":
        metrics = [2 - metric for metric in metrics]

    def theirs(schedulers, optimizer):
        rest = {key: value for key, value in setting.items() if key not in ("relative", "minimum")}
        how = "rel" if setting.get("relative", True) else "abs"
        return schedulers.ReduceLROnPlateau(
            optimizer, **rest, threshold_mode=how, min_lr=setting.get("minimum", 0.0), eps=0.0
        )

    ours = course(tg.ReduceOnPlateau(optimizer_of(), **setting), steps, metrics)
    np.testing.assert_allclose(ours, torchs_course(theirs, steps, metrics), rtol=1e-12)


def test_a_plateau_of_negative_metrics_is_seen():
    schedule = tg.ReduceOnPlateau(optimizer_of([1.0]), factor=0.5, patience=1, threshold=0.1)
    assert course(schedule, 4, [-10.0, -10.5, -10.9, -11.5])[:, 0].tolist() == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_a_plateau_after_an_infinite_metric_ends_with_the_first_finite_one():
    schedule = tg.ReduceOnPlateau(optimizer_of([1.0]), factor=0.5, patience=0)
    assert course(schedule, 3, [math.inf, 5.0, 5.0])[:, 0].tolist() == [1.0, 1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    "make", [lambda o: tg.CosineDecay(o, 4, 0.001), lambda o: tg.OneCycle(o, 5)], ids=["cosine", "one cycle"]
)
def test_after_its_end_a_schedule_stays_at_the_last_rate(make):
    found = course(make(optimizer_of()), 12)
    np.testing.assert_array_equal(found[4:], np.broadcast_to(found[4], (9, 2)))
    assert (found[3] > found[4]).all()


def test_a_warm_up_starts_low_and_hands_over_without_a_jump():
    schedule = tg.WarmUp(tg.CosineDecay(optimizer_of([0.3]), 10), 3)
    assert course(schedule, 3)[:, 0] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert rates_of(schedule.optimizer) == [0.3]
    schedule.step()
    assert rates_of(schedule.optimizer)[0] == pytest.approx(0.15 * (1 + math.cos(math.pi / 10)))


def test_a_warm_up_may_precede_a_plateau_which_does_not_see_its_metrics():
    schedule = tg.WarmUp(tg.ReduceOnPlateau(optimizer_of([1.0]), factor=0.5, patience=0), 2)
    assert schedule.needs_metric
    found = course(schedule, 6, [1.0, 1.0, 1.0, 2.0, 0.5, 0.6])
    assert found[:, 0].tolist() == [0.0, 0.5, 1.0, 1.0, 0.5, 0.5, 0.25]
    assert not tg.WarmUp(optimizer_of(), 2).needs_metric
    assert not tg.CosineDecay(optimizer_of(), 2).needs_metric


# State


LOSSES = [3.0, 2.0, 2.5, 2.6, 2.0, 2.0, 2.0, 1.0]
STATEFUL = {
    **{name: (pair[0], None) for name, pair in PAIRS.items()},
    "plateau": (lambda o: tg.ReduceOnPlateau(o, 0.5, 1, cooldown=2), LOSSES),
    "warm-up then plateau": (lambda o: tg.WarmUp(tg.ReduceOnPlateau(o, 0.5, 0), 3), LOSSES),
}


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("stop", [0, 2, 3, 5])
def test_a_state_continues_as_if_there_had_been_no_break(name, stop, tmp_path):
    make, metrics = STATEFUL[name]
    whole = course(make(optimizer_of()), 8, metrics)
    first = make(optimizer_of())
    course(first, stop, metrics)
    tg.save_checkpoint(tmp_path / "state.npz", [first.optimizer.state(), first.state()])
    saved, state = tg.load_checkpoint(tmp_path / "state.npz")
    for order in ("optimizer first", "optimizer last", "schedule alone"):
        second = make(optimizer_of())
        if order == "optimizer first":
            second.optimizer.load_state(saved)
        second.load_state(state)
        if order == "optimizer last":
            second.optimizer.load_state(saved)
        rest = course(second, 8 - stop, None if metrics is None else metrics[stop:])
        np.testing.assert_array_equal(rest, whole[stop:])


@refused_calls(
    ("load(['schedule'], 'CosineDecay')", ValueError, "schedule is CosineDecay"),
    ("load(['settings', 'patience'], 7)", ValueError, "settings"),
    ("load(['steps'], -1)", ValueError, "steps"),
    ("load(['steps'], 1.0)", ValueError, "steps"),
    ("load(['base_rates'], [0.1])", ValueError, "2 base_rates"),
    ("load(['rates'], [0.1, 'a'])", ValueError, "rates"),
    ("load(['rates'], [0.1, math.nan])", ValueError, "rates"),
    ("load(['rates'], None)", ValueError, "rates"),
    ("load(['progress'], {})", ValueError, "progress"),
    ("load(['progress', 'best'], math.nan)", ValueError, "best"),
    ("load(['progress', 'best'], 'low')", ValueError, "best"),
    ("load(['progress', 'waited'], -1)", ValueError, "counts"),
    ("load(['progress', 'cooling'], None)", ValueError, "counts"),
    ("load(['more'], 1)", ValueError, "entries"),
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(call, error, message):
    schedule = tg.ReduceOnPlateau(optimizer_of(), 0.5, 0)
    course(schedule, 3, [1.0, 2.0, 0.5])
    before = schedule.state(), rates_of(schedule.optimizer)

    def load(path, value):
        state = copy.deepcopy(schedule.state()) | {"base_rates": [5.0, 6.0]}
        inner = state
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        schedule.load_state(state)

    assert_refused(call, error, rf"ReduceOnPlateau.load_state: .*{message}", load=load, math=math)
    assert (schedule.state(), rates_of(schedule.optimizer)) == before


def test_a_warm_ups_state_is_checked_whole_before_anything_changes():
    schedule = tg.WarmUp(tg.CosineDecay(optimizer_of(), 9), 2)
    course(schedule, 4)
    before = schedule.state(), rates_of(schedule.optimizer)
    for then in (None, {}, {**schedule.state()["then"], "steps": -3}):
        with pytest.raises(ValueError, match="load_state"):
            schedule.load_state({**schedule.state(), "steps": 1, "then": then})
        assert (schedule.state(), rates_of(schedule.optimizer)) == before
    for wrong in (None, [], 3):
        with pytest.raises(ValueError, match=r"WarmUp\.load_state: expected a dict"):
            schedule.load_state(wrong)


# Refusals


def test_a_rate_that_something_else_changed_is_not_undone():
    optimizer = optimizer_of([1.0])
    schedule = tg.ExponentialDecay(optimizer, 0.5)
    schedule.step()
    optimizer.learning_rate = 0.4
    with pytest.raises(RuntimeError, match=r"rates are \[0\.4\], but this schedule had set \[0\.5\]"):
        schedule.step()
    assert (schedule.steps, optimizer.learning_rate) == (1, 0.4)
    optimizer.learning_rate = 0.5
    schedule.step()
    second = tg.StepDecay(optimizer, 1)
    second.step()
    with pytest.raises(RuntimeError, match="something else changed them"):
        schedule.step()


def test_a_rate_that_is_no_rate_changes_nothing():
    class Wild(tg.Schedule):
        def rate(self, base, steps):
            return base if steps < 2 or base > 1 else -1.0

    optimizer = optimizer_of([2.0, 1.0])
    schedule = Wild(optimizer)
    schedule.step()
    with pytest.raises(ValueError, match="Wild: expected learning_rate"):
        schedule.step()
    assert (schedule.steps, rates_of(optimizer)) == (1, [2.0, 1.0])


@refused_calls(
    ("tg.StepDecay(None, 2)", TypeError, "StepDecay: expected an Optimizer, got None"),
    ("tg.StepDecay(o, 0)", ValueError, "every"),
    ("tg.StepDecay(o, 2.0)", ValueError, "every"),
    ("tg.StepDecay(o, [])", ValueError, "increasing"),
    ("tg.StepDecay(o, [3, 3])", ValueError, "increasing"),
    ("tg.StepDecay(o, [3, '4'])", ValueError, "every"),
    ("tg.StepDecay(o, 2, 0.0)", ValueError, "factor"),
    ("tg.ExponentialDecay(o, -0.5)", ValueError, "factor"),
    ("tg.CosineDecay(o, 0)", ValueError, "total"),
    ("tg.CosineDecay(o, True)", ValueError, "total"),
    ("tg.CosineDecay(o, 5, 0.01)", ValueError, r"rate 0\.003 is below the minimum"),
    ("tg.CosineDecay(o, 5, -0.1)", ValueError, "minimum"),
    ("tg.OneCycle(o, 1)", ValueError, "total"),
    ("tg.OneCycle(o, 10, rising=0.0)", ValueError, "rising"),
    ("tg.OneCycle(o, 10, rising=1.0)", ValueError, "rising"),
    ("tg.OneCycle(o, 10, rising=0.1)", ValueError, "rising step"),
    ("tg.OneCycle(o, 10, end_divisor=0)", ValueError, "end_divisor"),
    ("tg.WarmUp(o, 0)", ValueError, "total"),
    ("tg.WarmUp(o, 5, start=1.0)", ValueError, "start"),
    ("tg.WarmUp(5, 5)", TypeError, "Optimizer"),
    ("tg.ReduceOnPlateau(o, factor=1.0)", ValueError, "factor"),
    ("tg.ReduceOnPlateau(o, factor=0.0)", ValueError, "factor"),
    ("tg.ReduceOnPlateau(o, patience=-1)", ValueError, "patience"),
    ("tg.ReduceOnPlateau(o, mode='low')", ValueError, "mode"),
    ("tg.ReduceOnPlateau(o, threshold=-1.0)", ValueError, "threshold"),
    ("tg.ReduceOnPlateau(o, cooldown=0.5)", ValueError, "cooldown"),
    ("tg.ReduceOnPlateau(o).step()", TypeError, "expected the metric"),
    ("tg.ReduceOnPlateau(o).step(math.nan)", ValueError, "NaN"),
)
def test_refusals_say_what_is_wrong_and_change_no_rate(call, error, message):
    optimizer = optimizer_of()
    assert_refused(call, error, message, o=optimizer, math=math)
    assert rates_of(optimizer) == list(RATES)


def test_a_schedule_that_has_made_steps_cannot_be_warmed_up_to():
    then = tg.ExponentialDecay(optimizer_of(), 0.5)
    then.step()
    with pytest.raises(ValueError, match="made 1 steps"):
        tg.WarmUp(then, 3)


def test_a_schedule_without_rate_says_so():
    with pytest.raises(NotImplementedError, match=r"Silent.*rate"):
        type("Silent", (tg.Schedule,), {})(optimizer_of())
