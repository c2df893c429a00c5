"""Names of other libraries, and misspelt ones: all that is told what to write can be written."""

import inspect
import re

import numpy as np
import pytest
from helpers import assert_refused, refused_calls

import tensorgrad as tg
from tensorgrad.core.elsewhere import TABLES, advise_value, choose, explained


def network():
    return tg.Network([tg.Dense(4, 3, rng=0), tg.BatchNorm(3)])


T = tg.Tensor(np.ones((2, 3)), requires_grad=True)
W = tg.Parameter([1.0, 2.0], name="w")
NAMES = {
    "t": T, "w": W, "layer": tg.Dense(4, 3, rng=0), "network": network(),
    "optimizer": tg.Adam([W]), "loss": T.sum(), "x": np.ones((2, 4), np.float32), "I": np.ones((1, 4, 4, 1)),
}  # fmt: skip


@refused_calls(
    # PyTorch's and Keras's names of the package
    ("tg.Linear(3, 2)", AttributeError, r"did you mean tg\.Dense\?"),
    ("tg.nn.Linear(3, 2)", AttributeError, r"module 'tensorgrad.nn' .* did you mean tg\.Dense\?"),
    ("tg.nn.Parameter([1.0])", AttributeError, r"did you mean tg\.Parameter\?"),
    ("tg.nn.relu(t)", AttributeError, r"did you mean tg\.relu\?"),
    ("tg.nn.Module", AttributeError, r"did you mean tg\.Layer\?"),
    ("tg.SGD", AttributeError, r"did you mean tg\.MiniBatchSGD\?"),
    ("tg.optim.Adam", AttributeError, r"stand in tensorgrad itself, such as tg\.Adam"),
    ("tg.Sequential", AttributeError, r"did you mean tg\.Network\?"),
    ("tg.MaxPooling2D(2)", AttributeError, r"did you mean tg\.MaxPool2D\?"),
    ("tg.CrossEntropyLoss()", AttributeError, r"did you mean tg\.cross_entropy\?"),
    ("tg.BCELoss()", AttributeError, r"did you mean tg\.binary_cross_entropy, which takes logits"),
    ("tg.RMSprop", AttributeError, r"there are tg\.MiniBatchSGD, tg\.Adam"),
    ("tg.tensor([1.0])", AttributeError, r"did you mean tg\.Tensor\?"),
    ("tg.cat([t, t])", AttributeError, r"did you mean tg\.concatenate\?"),
    ("tg.manual_seed(0)", AttributeError, "there is no global seed"),
    ("tg.save(network, 'x')", AttributeError, r"tg\.save_network\(path, network\)"),
    ("tg.cuda.is_available()", AttributeError, "computes on the CPU"),
    ("tg.zeros((2, 3))", AttributeError, r"did you mean tg\.Tensor\(np\.zeros\(\.\.\.\)\)\?"),
    ("tg.argmax(t)", AttributeError, r"NumPy has np\.argmax"),
    ("tg.float32", AttributeError, r"NumPy has np\.float32"),
    # misspelt ones
    ("tg.dense(3, 2)", AttributeError, r"did you mean tg\.Dense\?"),
    ("tg.Embeding(3, 2)", AttributeError, r"did you mean tg\.Embedding\?"),
    ("tg.ReduceOnPlatau", AttributeError, r"did you mean tg\.ReduceOnPlateau\?"),
    ("tg.qwertz", AttributeError, "module 'tensorgrad' has no attribute 'qwertz'$"),
    # of a Tensor
    ("t.view(-1)", AttributeError, r"no attribute 'view'; did you mean t\.reshape\(shape\)\?"),
    ("t.permute(1, 0)", AttributeError, r"t\.transpose\(axes\)"),
    ("t.unsqueeze(0)", AttributeError, r"np\.expand_dims\(t, axis\)"),
    ("t.exp()", AttributeError, r"did you mean np\.exp\(t\)\?"),
    ("t.softmax(dim=1)", AttributeError, r"tg\.softmax\(t, axis=-1\)"),
    ("t.float()", AttributeError, r"t\.astype\(\"float32\"\)"),
    ("t.cuda()", AttributeError, "computes on the CPU"),
    ("t.add_(1)", AttributeError, r"give a leaf new values by t\.data = \.\.\."),
    ("w.assign_sub(w)", AttributeError, r"'Parameter' object .* t\.data = \.\.\."),
    ("setattr(w, 'requires_grad', False)", AttributeError, "give the optimizer no others"),
    # of a layer and of an optimizer
    ("setattr(layer, 'trainable', False)", AttributeError, "give the optimizer the parameters of the others"),
    ("tg.load_weights(network, 'weights.npz')", TypeError, r"write load_weights\(path, layer\)"),
    ("tg.minibatches(x, x, 2, 0)", TypeError, r"write np\.random\.default_rng\(0\)"),
    ("network.state_dict()", AttributeError, r"did you mean layer\.state\(\)\?"),
    ("network.compile(optimizer='adam')", AttributeError, r"network\.use\(loss\)"),
    ("network.predict_proba(x)", AttributeError, r"tg\.softmax\(network\.predict\(x\), axis=-1\)"),
    ("layer.weight", AttributeError, r"'Dense' object .* did you mean layer\.weights"),
    ("layer.to('cuda')", AttributeError, "computes on the CPU"),
    ("network[0]", TypeError, r"write network\.layers\[0\]"),
    ("optimizer.param_groups", AttributeError, r"optimizer\.groups"),
    # keyword arguments of ops
    ("tg.sum(t, dim=1)", TypeError, "sum: unexpected keyword argument 'dim'; did you mean axis?"),
    ("t.sum(dim=1)", TypeError, r"np\.sum: dim cannot be used with a Tensor; did you mean axis\?"),
    ("t.std(dim=1)", TypeError, r"np\.std: dim .*did you mean axis\?"),
    ("t.argmax(dim=1)", TypeError, r"argmax: .*did you mean axis\?"),
    ("tg.concatenate([t, t], dim=0)", TypeError, r"concatenate: .*did you mean axis\?"),
    ("tg.std(t, dim=0)", TypeError, r"std: .*did you mean axis\?"),
    ("tg.max(t, axis=1, keepdim=True)", TypeError, r"did you mean keepdims\?"),
    ("tg.softmax(t, dim=1)", TypeError, r"did you mean axis\?"),
    ("tg.max_pool(I, kernel_size=2)", TypeError, r"did you mean size\?"),
    ("tg.huber(t, t, beta=1.0)", TypeError, r"did you mean delta\?"),
    ("tg.cross_entropy(t, [0, 1], weight=[1, 1, 1])", TypeError, r"did you mean class_weights\?"),
    ("tg.cross_entropy(t, [0, 1], from_logits=True)", TypeError, "leave it away, the loss takes logits"),
    # of layers
    ("tg.MaxPool2D(pool_size=2)", TypeError, r"MaxPool2D: .*'pool_size'; did you mean size\?"),
    ("tg.Conv2D(1, 4, 3, strides=2)", TypeError, r"did you mean stride\?"),
    ("tg.Conv2D(in_channels=1, out_channels=4, kernel_size=3)", TypeError, r"did you mean channels\?"),
    ("tg.Conv2D(32, 3)", TypeError, r"missing .* 'kernel_size'; it takes \(channels, filters, kernel_size"),
    ("tg.Dense(10, activation='relu')", TypeError, r"put a layer such as tg\.ReLU\(\) after it"),
    ("tg.Dense(units=10)", TypeError, r"did you mean outputs\?"),
    ("tg.Dense(10)", TypeError, r"missing .* 'outputs'; it takes \(inputs, outputs"),
    ("tg.Dense(4, 3, use_bias=False)", TypeError, r"did you mean bias\?"),
    ("tg.Dense(4, 3, seed=0)", TypeError, r"did you mean rng\?"),
    ("tg.Dense(4, 3, init='xavier_uniform')", ValueError, r"did you mean 'glorot_uniform'\?"),
    ("tg.Dropout(p=0.5)", TypeError, r"did you mean rate\?"),
    ("tg.ReLU(inplace=True)", TypeError, "ReLU: unexpected keyword argument 'inplace'; leave it away"),
    ("tg.Softmax(dim=1)", TypeError, "'dim'; it takes none"),
    ("tg.BatchNorm(num_features=3)", TypeError, r"did you mean channels\?"),
    ("tg.Network(layer, layer)", TypeError, r"Network: too many positional arguments; it takes \(layers"),
    ("tg.Network(layer)", TypeError, "expected a list of layers, got one layer"),
    ("tg.Network([tg.Dense])", TypeError, r"expected a Layer.*did you mean tg\.Dense\(\.\.\.\)\?"),
    ("tg.Network([layer, 'relu'])", TypeError, r"did you mean tg\.ReLU\(\.\.\.\)\?"),
    ("network.add(tg.relu)", TypeError, r"did you mean tg\.ReLU\(\.\.\.\)\?"),
    ("network.add(layer, layer)", TypeError, r"Network\.add: too many"),
    # of optimizers, schedules and callbacks
    ("tg.Adam(network.parameters(), lr=0.1)", TypeError, r"Adam: .*'lr'; did you mean learning_rate\?"),
    ("tg.Adam(network)", TypeError, r"such as network\.parameters\(\), got one Network"),
    ("tg.Adam(0.01)", TypeError, r"such as network\.parameters\(\), got one float"),
    ("tg.Adam(learning_rate=0.01)", TypeError, "Adam: missing .* 'parameters'; it takes"),
    ("tg.Adam([{'params': [w]}])", TypeError, r"did you mean 'parameters'"),
    ("tg.Adam([{'parameters': [w], 'lr': 0.1}])", TypeError, r"did you mean learning_rate\?"),
    ("tg.StepDecay(optimizer, step_size=2)", TypeError, r"did you mean every\?"),
    ("tg.CosineDecay(optimizer, T_max=2)", TypeError, r"did you mean total\?"),
    ("tg.CosineDecay(optimizer)", TypeError, r"CosineDecay: missing .* 'total'; it takes \(optimizer, total"),
    ("tg.EarlyStopping(restore_best_weights=True)", TypeError, r"did you mean restore_best\?"),
    # of a network's verbs
    ("network.fit(x, x, lr=0.1)", TypeError, r"Network\.fit: .*'lr'; did you mean learning_rate\?"),
    ("network.fit(x, x, validation_data=(x, x))", TypeError, r"did you mean validation\?"),
    ("network.fit(x, x, nb_epoch=3)", TypeError, r"did you mean epochs\?"),
    ("network.fit(x, x, shuffle=True)", TypeError, "every epoch is shuffled"),
    ("network.fit(x, x, qwertz=1)", TypeError, "'qwertz'; it takes x, y, epochs"),
    ("network.summary()", TypeError, r"missing .* 'input_shape'; it takes \(input_shape, batch_size=32\)"),
    # a tensor for a function
    ("tg.grad(loss, w)", TypeError, r"expected a function f, got a Tensor.*loss\.backward\(\)"),
    ("tg.jacobian(t)", TypeError, "jacobian: expected a function f, got a Tensor"),
)  # fmt: skip
def test_what_other_libraries_call_things_is_told(call, error, message):
    assert_refused(call, error, message, **NAMES)


def test_a_method_of_a_callback_that_is_never_called_is_refused():
    for name, meant in (("on_train_batch_end", "on_batch_end"), ("on_epoch_ends", "on_epoch_end")):
        with pytest.raises(TypeError, match=rf"Mine\.{name} would never be called; did you mean {meant}\?"):
            type("Mine", (tg.Callback,), {name: lambda self, training: None})
    type("Mine", (tg.Callback,), {"on_improvement": lambda self: None, "on_epoch_end": lambda self, t: None})


def test_a_layer_with_call_in_place_of_forward_is_told():
    layer = type("Mine", (tg.Layer,), {"call": lambda self, x: x})()
    with pytest.raises(NotImplementedError, match="Mine does not define forward; call, which it has, is"):
        layer(np.ones(1))


def test_all_keywords_that_are_not_known_are_told():
    with pytest.raises(
        TypeError, match=r"'units'; did you mean outputs\?; .*'use_bias'; did you mean bias\?"
    ):
        tg.Dense(units=3, use_bias=False)


# The tables hold


SAMPLES = {**NAMES, "tg": tg, "np": np, "dtype": float, "axes": (1, 0), "shape": (2, 3), "axis": 0, "y": 2.0}


@pytest.mark.parametrize("title", ["package", "tensor", "array", "layer", "optimizer"])
def test_what_the_tables_advise_exists(title):
    for name, advice in TABLES[title].items():
        if advice.isidentifier():
            assert hasattr(tg, advice), f"{name}: {advice}"
        for word in re.findall(r"\b(?:tg|np|t|layer|network|optimizer|loss)\.[\w.]*\w", advice):
            if word in ("layer.name", "layer.filters", "layer.scale", "layer.shift") or "running" in word:
                continue  # of other layers, or a name that the user chooses
            try:
                eval(word, SAMPLES)
            except AttributeError:
                pytest.fail(f"[{title}] {name}: there is no {word}")


def test_what_the_tables_advise_of_other_layers_exists():
    conv, norm = tg.Conv2D(1, 1, 1), tg.BatchNorm(1)
    assert all(hasattr(norm, name) for name in ("scale", "shift", "running_mean", "running_variance"))
    assert hasattr(conv, "filters")


def test_what_is_written_instead_of_a_method_works():
    names = {
        "mask": T.data > 0,
        "value": 0.0,
        "indices": np.zeros((1, 3), int),
        "n": 1,
        "parts": 2,
        "like": T,
    }
    code = re.compile(r"write (-?t\b|np\.|tg\.\w+\(t|list).*")
    for advice in TABLES["tensor"].values():
        expression = advice.removeprefix("write ")
        if (
            code.fullmatch(advice)
            and "," not in re.sub(r"\(.*\)", "", expression)
            and " = " not in expression
        ):
            right = {"y": np.ones((3, 2))} if "@" in expression else {}
            low_high = {"low": 0.0, "high": 1.0}
            eval(expression, {**SAMPLES, **names, **low_high, **right})


def test_no_name_of_the_tables_is_taken():
    assert [name for name in TABLES["package"] if name in tg.__all__] == []
    for title, cls in (("tensor", tg.Tensor), ("optimizer", tg.Optimizer)):
        assert [name for name in TABLES[title] if hasattr(cls, name)] == []


def test_each_keyword_that_is_advised_is_one_of_some_function():
    known = set()
    for name in tg.__all__:
        found = getattr(tg, name)
        functions = [found] + [f for _, f in inspect.getmembers(found, inspect.isfunction)] * inspect.isclass(
            found
        )
        for function in functions:
            try:
                known |= inspect.signature(function).parameters.keys()
            except (TypeError, ValueError):
                continue
    for name, advice in TABLES["keywords"].items():
        words = advice.split(", ")
        assert " " in advice.replace(", ", ",") or known.issuperset(words), f"{name}: {advice}"


# They are in nobody's way


def test_names_of_other_libraries_are_neither_listed_nor_found():
    for owner, name in ((T, "view"), (tg.Dense(2, 1), "state_dict"), (W.data, "zero_")):
        assert not hasattr(owner, name)
        assert getattr(owner, name, "none") == "none"
    assert "view" not in dir(T)
    assert "reshape" in dir(T)
    assert "state_dict" not in dir(network())
    assert "predict" in dir(network())


def test_a_layer_may_have_attributes_and_methods_of_these_names():
    class Own(tg.Layer):
        def __init__(self):
            self.kernel = tg.Parameter([2.0])

        def score(self):
            return 3

        @property
        def weight(self):
            return self.kernel

    layer = Own()
    assert layer.weight is layer.kernel
    assert layer.score() == 3
    layer.gamma = 1.0
    assert layer.gamma == 1.0


def test_an_error_inside_of_a_property_of_a_layer_is_its_own():
    class Broken(tg.Layer):
        @property
        def size(self):
            return None.shape

    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'shape'"):
        Broken().size  # noqa: B018 - asking for it is the test


def test_errors_inside_of_an_explained_call_stay_as_they_are():
    class Own(tg.Layer):
        def __init__(self, size):
            self.size = size + 1

    with pytest.raises(TypeError, match="can only concatenate str") as caught:
        Own("3")
    assert caught.value.__cause__ is None
    with pytest.raises(TypeError, match=r"Own: unexpected keyword argument 'sizes'; did you mean size\?"):
        Own(sizes=3)


def test_signatures_are_those_that_were_written():
    assert list(inspect.signature(tg.Dense).parameters)[:3] == ["inputs", "outputs", "bias"]
    assert list(inspect.signature(tg.ReLU).parameters) == []
    assert list(inspect.signature(tg.Network.fit).parameters)[:3] == ["self", "x", "y"]
    assert tg.Network.fit.__doc__.startswith("Train on mini-batches")


def test_a_choice_is_refused_with_all_names_and_the_one_that_may_be_meant():
    assert choose("expected", "b", {"a": 1, "b": 2}) == 2
    with pytest.raises(
        ValueError, match=r"expected x to be one of relu, tanh, got 'ReLU'; did you mean 'relu'\?"
    ):
        choose("expected x", "ReLU", {"relu": 1, "tanh": 2})
    with pytest.raises(ValueError, match=r"got 3$"):
        choose("expected x", 3, {"relu": 1})
    assert advise_value("qwertz", ["relu"]) == ""


def test_an_explained_method_is_called_once():
    calls = []

    class Counter:
        @explained
        def count(self, n):
            calls.append(n)
            raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        Counter().count(3)
    assert calls == [3]
