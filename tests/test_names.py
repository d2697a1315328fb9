"""Laws of near names, of objects by reference and of argument names."""

import functools
import sys

import pytest

from loopwright._errors import ConfigError
from loopwright._names import check_arguments, did_you_mean, load_object, near

MODELS = ["alexnet", "resnet18", "resnet34", "resnet50", "vit_b_16", "wide_resnet50_2"]
KEYS = ["data", "batch_size", "optimizer", "optimizer.name", "optimizer.lr", "optimizer.weight_decay", "scheduler.name"]


@pytest.mark.parametrize(
    ("name", "candidates", "first"),
    [
        ("ResNet18", MODELS, "resnet18"),
        ("resnet-18", MODELS, "resnet18"),
        ("resnet81", MODELS, "resnet18"),
        ("vit", MODELS, "vit_b_16"),
        ("adamw", ["Adam", "SGD", "AdamW"], "AdamW"),
        ("batchsize", KEYS, "batch_size"),
        ("optimzer", KEYS, "optimizer"),
        ("optimizer.lrr", KEYS, "optimizer.lr"),
        ("lr", KEYS, "optimizer.lr"),
        ("learning_rate", KEYS, "optimizer.lr"),
        ("wd", KEYS, "optimizer.weight_decay"),
        ("weight_decay", KEYS, "optimizer.weight_decay"),
        ("scheduler.nane", KEYS, "scheduler.name"),
        ("bs", KEYS, "batch_size"),
    ],
)
def test_the_likeliest_name_comes_first(name: str, candidates: list[str], first: str) -> None:
    assert near(name, candidates)[0] == first


@pytest.mark.parametrize("name", ["zebra", "", "x", "crop"])
def test_what_resembles_nothing_has_no_near_name(name: str) -> None:
    assert near(name, KEYS) == []
    assert did_you_mean(name, KEYS) == ""


def test_at_most_n_names_in_the_given_order_of_ties() -> None:
    assert near("resnet", MODELS) == ["resnet18", "resnet34", "resnet50"]
    assert near("resnet", MODELS, n=2) == ["resnet18", "resnet34"]


def test_a_name_that_differs_in_capitals_only_is_the_only_one_asked_about() -> None:
    assert did_you_mean("RESNET18", MODELS) == "did you mean 'resnet18'?"
    assert did_you_mean("resnet", MODELS) == "did you mean 'resnet18', 'resnet34' or 'resnet50'?"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write modules into the current directory, importable by nothing else, forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if name.partition(".")[0].startswith("own_"):
            del sys.modules[name]


def test_an_object_beside_the_configuration_is_found_and_the_path_left_as_it_was(module) -> None:
    module("own_models.py", "class Net:\n    @classmethod\n    def small(cls): return 'small'\n")
    path = list(sys.path)
    assert load_object("own_models:Net.small")() == "small"
    assert sys.path == path


def test_an_object_of_an_installed_package_is_found() -> None:
    assert load_object("functools:partial") is functools.partial


@pytest.mark.parametrize("reference", ["", "models", "models:", ":build", "models.py:1build", "a/b.py:build", "a b:c"])
def test_a_malformed_reference_is_refused_with_the_form_to_write(reference: str) -> None:
    with pytest.raises(ConfigError, match=r"write 'package.module:name'"):
        load_object(reference)


def test_a_missing_module_is_named_with_near_ones(module) -> None:
    module("own_models.py", "")
    with pytest.raises(ConfigError, match=r"no module 'own_model': did you mean 'own_models'\?") as caught:
        load_object("own_model:build")
    assert caught.value.__cause__ is None


def test_a_missing_submodule_is_named_with_near_ones(module) -> None:
    module("own_package/__init__.py", "")
    module("own_package/blocks.py", "")
    with pytest.raises(ConfigError, match=r"no module 'own_package.block': did you mean 'blocks'\?"):
        load_object("own_package.block:build")


def test_an_import_that_fails_inside_the_module_keeps_its_cause(module) -> None:
    module("own_models.py", "import own_missing_dependency\n")
    with pytest.raises(ConfigError, match=r"exists, but an import inside it fails: .*own_missing_dependency") as caught:
        load_object("own_models:build")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_name_that_cannot_be_imported_inside_the_module_keeps_its_cause(module) -> None:
    module("own_models.py", "from functools import no_such_thing\n")
    with pytest.raises(ConfigError, match="no_such_thing") as caught:
        load_object("own_models:build")
    assert isinstance(caught.value.__cause__, ImportError)


def test_other_faults_of_the_module_pass_through(module) -> None:
    module("own_models.py", "1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load_object("own_models:build")


def test_a_missing_attribute_is_named_with_near_ones(module) -> None:
    module("own_models.py", "class Net:\n    def small(self): ...\n")
    with pytest.raises(ConfigError, match=r"module 'own_models' has no 'net': did you mean 'Net'\?"):
        load_object("own_models:net")
    with pytest.raises(ConfigError, match=r"class 'Net' has no 'smal': did you mean 'small'\?"):
        load_object("own_models:Net.smal")


def sgd(params, lr, momentum=0.0, *, nesterov=False): ...


class Net:
    def __init__(self, width, **more): ...


def test_known_arguments_pass() -> None:
    check_arguments(sgd, {"momentum": 0.9, "nesterov": True}, place="optimizer", given=["params", "lr"])
    check_arguments(Net, {"anything": 1}, place="model")
    check_arguments(functools.partial(sgd, lr=1), {"momentum": 0.9}, place="optimizer", given=["params"])
    check_arguments(type, {"whatever": 1}, place="metric")  # Python cannot say what it takes


def test_every_wrong_argument_has_a_line() -> None:
    with pytest.raises(ConfigError) as caught:
        check_arguments(
            sgd, {"momentm": 1, "zebra": 2, "params": 3, "self": 4}, place="optimizer", given=["params", "lr"]
        )
    assert str(caught.value).splitlines() == [
        "optimizer.momentm is not an argument of sgd: did you mean 'momentum'?",
        "optimizer.zebra is not an argument of sgd: it takes momentum, nesterov",
        "optimizer.params cannot be set: loopwright itself passes it to sgd",
        "optimizer.self is not an argument of sgd: it takes momentum, nesterov",
    ]


def test_a_given_argument_is_refused_also_where_any_keyword_goes() -> None:
    with pytest.raises(ConfigError, match=r"model.width cannot be set"):
        check_arguments(Net, {"width": 3}, place="model", given=["width"])


def test_positional_only_arguments_cannot_be_configured() -> None:
    def crop(size, /, scale=1): ...

    with pytest.raises(ConfigError, match=r"augment.size is not an argument of crop: it takes scale"):
        check_arguments(crop, {"size": 3}, place="augment")
