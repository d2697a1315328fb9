"""Laws of checked configurations: every mistake at once with its place, and what is saved loads back equal."""

import argparse
import dataclasses
import enum
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from pydantic_core import PydanticCustomError

from loopwright._config import Named, Settings, config_text, load_config, save_config
from loopwright._errors import ConfigError
from loopwright._yaml import parse_yaml
from loopwright.recipes._settings import TrainSettings

DOCS = Path(__file__).parent.parent / "docs"


class Loss(enum.Enum):
    CROSS_ENTROPY = "cross_entropy"
    BCE = "bce"


class Model(Named):
    name: str = "resnet18"


class Optimizer(Named):
    name: str = "AdamW"
    lr: Annotated[pydantic.FiniteFloat, Field(gt=0)] = 1e-3
    weight_decay: NonNegativeFloat = 0.05


class Train(Settings):
    data: Path
    run: str | None = None
    model: Model = Model()
    image_size: Annotated[int, Field(ge=8)] | tuple[int, int] = 224
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: PositiveInt = 64
    workers: NonNegativeInt | Literal["auto"] = "auto"
    seed: NonNegativeInt = 42
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    deterministic: bool = False
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixing: Annotated[float, Field(ge=0, le=1)] = 0.0
    optimizer: Optimizer = Optimizer()
    scheduler: Named | None = None
    loss: Loss = Loss.CROSS_ENTROPY
    augment: tuple[Named, ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)

    @pydantic.field_validator("batch_size")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"should be even, is {value}")
        return value

    @pydantic.model_validator(mode="after")
    def _arguments(self) -> "Train":
        wrong = [name for name in self.model.arguments if name != "width"]
        if wrong:
            raise ValueError("\n".join(f"model.{name} is not an argument of {self.model.name}" for name in wrong))
        if self.seed == 13:
            raise ValueError("thirteen brings bad luck")
        return self


def mistakes(source: Any, overrides: list[str] | None = None, schema: type[Settings] = Train) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides or [], schema=schema)
    return str(caught.value).splitlines()


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda text, name="train.yaml": Path(name).write_text(text, encoding="utf-8")


# ---- settings -------------------------------------------------------------------------------------------------------


def test_settings_are_frozen_and_refuse_what_they_do_not_declare() -> None:
    config = Train(data=Path("x"))
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.epochs = 3  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError, match="extra_forbidden"):
        Train(data=Path("x"), epoch=3)  # type: ignore[call-arg]


def test_defaults_are_checked_too() -> None:
    class Wrong(Settings):
        epochs: int = "many"  # type: ignore[assignment]

    assert mistakes({}, schema=Wrong) == ["epochs should be a whole number, is 'many'"]


@pytest.mark.parametrize(
    ("key", "value", "result"),
    [
        ("epochs", 1e3, 1000),
        ("mixing", 1, 1.0),
        ("mean", [0, 1, 0.5], (0.0, 1.0, 0.5)),
        ("mean", (0, 1, 0.5), (0.0, 1.0, 0.5)),
        ("image_size", [128, 96], (128, 96)),
        ("loss", "bce", Loss.BCE),
        ("data", "photos", Path("photos")),
        ("weights", {"a": 1}, {"a": 1.0}),
        ("workers", "auto", "auto"),
        ("workers", 2, 2),
    ],
)
def test_values_that_mean_the_same_are_accepted(key: str, value: Any, result: Any) -> None:
    found = getattr(load_config({"data": "x", key: value}, schema=Train), key)
    assert (found, type(found)) == (result, type(result))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", "3"), ("epochs", True), ("epochs", 1.5), ("epochs", math.inf), ("epochs", math.nan),
        ("mixing", "0.5"), ("mixing", True), ("deterministic", 1), ("deterministic", 0.0), ("deterministic", "yes"),
        ("run", 3), ("mean", ["0", 1, 2]), ("mean", [True, 1, 2]), ("weights", {"a": "1"}), ("image_size", "224"),
        ("workers", "2"), ("workers", True), ("image_size", ["1", 2]),
    ],
)  # fmt: skip
def test_no_value_is_turned_into_one_of_another_kind(key: str, value: Any) -> None:
    (mistake,) = mistakes({"data": "x", key: value})
    assert mistake.startswith(key)
    with pytest.raises(pydantic.ValidationError):
        Train(**{"data": Path("x"), key: value})


# ---- named parts ----------------------------------------------------------------------------------------------------


def test_a_part_is_a_name_or_a_mapping_with_its_own_arguments() -> None:
    short, long = Optimizer.model_validate("SGD"), Optimizer.model_validate({"name": "SGD"})
    assert short == long == Optimizer(name="SGD")
    part = Optimizer.model_validate({"name": "SGD", "lr": 0.1, "momentum": 0.9, "copy": 1, "arguments": 2})
    assert part.arguments == {"momentum": 0.9, "copy": 1, "arguments": 2}
    assert part != Optimizer(name="SGD", lr=0.1)
    assert part.model_dump() == {
        "name": "SGD", "lr": 0.1, "weight_decay": 0.05, "momentum": 0.9, "copy": 1, "arguments": 2,
    }  # fmt: skip


def test_changing_the_arguments_that_were_handed_out_changes_nothing() -> None:
    part = Named.model_validate({"name": "SGD", "momentum": 0.9})
    part.arguments["momentum"] = 0
    assert part.arguments == {"momentum": 0.9}


def test_a_part_without_a_name_keeps_the_default_one() -> None:
    config = load_config({"data": "x"}, ["optimizer.lr=0.1", "model.width=2"], schema=Train)
    assert config.optimizer == Optimizer(name="AdamW", lr=0.1)
    assert (config.model.name, config.model.arguments) == ("resnet18", {"width": 2})


# ---- sources --------------------------------------------------------------------------------------------------------


def test_later_sources_win(write) -> None:
    write("epochs: 1\nseed: 1\nworkers: 1\noptimizer: {name: SGD, lr: 0.1}\n", "base.yaml")
    write("include: base.yaml\ndata: photos\nseed: 2\nworkers: 2\noptimizer:\n  momentum: 0.9\n")
    config = load_config("train.yaml", ["workers=3", "optimizer.lr=0.2"], schema=Train)
    assert (config.epochs, config.seed, config.workers, config.batch_size) == (1, 2, 3, 64)
    assert config.optimizer == Optimizer.model_validate({"name": "SGD", "lr": 0.2, "momentum": 0.9})


def test_every_kind_of_source_gives_the_same_configuration(write) -> None:
    values = {"data": "photos", "optimizer": {"name": "SGD", "lr": 0.1}, "mean": (0.1, 0.2, 0.3)}
    write("data: photos\noptimizer: {name: SGD, lr: 1e-1}\nmean: (0.1, 0.2, 0.3)\n")
    expected = Train(data=Path("photos"), optimizer=Optimizer(name="SGD", lr=0.1), mean=(0.1, 0.2, 0.3))

    @dataclasses.dataclass
    class Mine:
        data: str = "photos"
        optimizer: Any = dataclasses.field(default_factory=lambda: argparse.Namespace(name="SGD", lr=0.1))
        mean: tuple[float, ...] = (0.1, 0.2, 0.3)

    for source in ("train.yaml", Path("train.yaml"), values, argparse.Namespace(**values), Mine(), expected):
        assert load_config(source, schema=Train) == expected
    overrides = ["data=photos", "optimizer={name: SGD, lr: 0.1}", "mean=[0.1, 0.2, 0.3]"]
    assert load_config(None, overrides, schema=Train) == expected


def test_without_a_schema_the_values_come_back_as_they_are(write) -> None:
    write("a: {b: 1e-3}\n")
    assert load_config("train.yaml", ["a.c=(1, 2)"]) == {"a": {"b": 1e-3, "c": (1, 2)}}
    assert load_config(None) == {}


def test_one_override_need_not_be_put_into_a_list() -> None:
    assert load_config(None, "a.b=1") == {"a": {"b": 1}}


def test_a_cfgnode_is_a_source_and_stays_as_it_was() -> None:
    yacs = pytest.importorskip("yacs.config", reason="compares with the yacs package")
    node = yacs.CfgNode({"data": "photos", "optimizer": {"name": "SGD", "lr": 1}, "mean": (0.1, 0.2, 0.3)})
    node.freeze()
    config = load_config(node, ["optimizer.momentum=0.9"], schema=Train)
    assert config.optimizer == Optimizer.model_validate({"name": "SGD", "lr": 1.0, "momentum": 0.9})
    assert node.optimizer == {"name": "SGD", "lr": 1}


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_files(write) -> None:
    write("epochs: 0\nmodel:\n  widht: 3\nprecison: bf16\n", "base.yaml")
    write(
        "include: base.yaml\n"
        "optimizer:\n"
        "  lr: fast\n"
        "  weight_decay: -1\n"
        "lr: 0.1\n"
        "augment:\n"
        "- flip\n"
        "- {p: 0.5}\n"
        "mean: [0.5, x, 0.5]\n"
        "batch_size: 3\n"
        "optimizer.lr: 1\n"
        "scheduler: {gamma: 0.1}\n"
    )
    assert mistakes("train.yaml", ["mixing=2", "seeed=1", "workers"]) == [
        "train.yaml:3: optimizer.lr should be a number greater than 0, is 'fast'",
        "train.yaml:4: optimizer.weight_decay should be a number of at least 0, is -1",
        "train.yaml:5: unknown key 'lr': did you mean 'optimizer.lr'?",
        "train.yaml:8: augment.1.name is missing: it should be text that is not empty",
        "train.yaml:9: mean.1 should be a number, is 'x'",
        "train.yaml:10: batch_size: should be even, is 3",
        "train.yaml:11: unknown key 'optimizer.lr': write optimizer: {lr: ...}",
        "train.yaml:12: scheduler.name is missing: it should be text that is not empty",
        "train.yaml: data is missing: it should be a path",
        "base.yaml:1: epochs should be a whole number of at least 1, is 0",
        "base.yaml:4: unknown key 'precison': did you mean 'precision'?",
        "command line: mixing should be a number between 0 and 1, is 2",
        "command line: unknown key 'seeed': did you mean 'seed'?",
        "command line: 'workers' has no '=': write workers=VALUE",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("precision=BF16", "precision should be one of 'fp32', 'bf16' or 'fp16', is 'BF16': did you mean 'bf16'?"),
        (
            "loss=crossentropy",
            "loss should be one of 'cross_entropy' or 'bce', is 'crossentropy': did you mean 'cross_entropy'?",
        ),
        ("deterministic=yes", "deterministic should be true or false, is 'yes'"),
        ("workers=-1", "workers should be a whole number of at least 0 or 'auto', is -1"),
        ("workers=atuo", "workers should be a whole number of at least 0 or 'auto', is 'atuo': did you mean 'auto'?"),
        (
            "image_size=big",
            "image_size should be a whole number of at least 8 or a list of 2 values, each a whole number, is 'big'",
        ),
        ("image_size=[1, a]", "image_size.1 should be a whole number, is 'a'"),
        ("mean=[1, 2]", "mean should be a list of 3 values, each a number, is [1, 2]"),
        ("mean=3", "mean should be a list of 3 values, each a number, is 3"),
        ("dropout=1", "dropout should be a number of at least 0 and less than 1, is 1"),
        (
            "dropout=nan",
            "dropout should be a number of at least 0 and less than 1, is 'nan': write .inf, -.inf or .nan",
        ),
        ("run=3", "run should be text or null, is 3: put it in quotes if it is meant as text"),
        ("scheduler=3", "scheduler should be a name or a mapping with a name or null, is 3"),
        (
            "scheduler.name=3",
            "scheduler.name should be text that is not empty, is 3: put it in quotes if it is meant as text",
        ),
        ("augment=flip", "augment should be a list of values, each a name or a mapping with a name, is 'flip'"),
        ("weights={a: b}", "weights.a should be a number, is 'b'"),
        ("weights=3", "weights should be a mapping of keys to values, is 3"),
        ("optimizer.lr=.inf", "optimizer.lr should be a finite number, is .inf"),
        ("epochs=null", "epochs should be a whole number of at least 1, is null"),
        ("zebra=1", "unknown key 'zebra': there are data, run, model, image_size"),
        ("learning_rate=1", "unknown key 'learning_rate': did you mean 'optimizer.lr'?"),
        ("model.widht=1", "model.widht is not an argument of resnet18"),
    ],
)
def test_each_mistake_says_what_should_be_and_what_is(override: str, message: str) -> None:
    (mistake,) = mistakes({"data": "x"}, [override])
    assert mistake.startswith(f"command line: {message}")


def test_values_without_a_file_are_reported_without_a_place() -> None:
    assert mistakes({"epochs": 0}) == [
        "data is missing: it should be a path",
        "epochs should be a whole number of at least 1, is 0",
    ]


def test_a_validator_speaks_about_the_keys_that_it_names(write) -> None:
    write("data: x\nmodel:\n  name: resnet18\n  widht: 2\n  depht: 3\n")
    assert mistakes("train.yaml") == [
        "train.yaml:4: model.widht is not an argument of resnet18",
        "train.yaml:5: model.depht is not an argument of resnet18",
    ]
    write("data: x\nseed: 13\n")
    assert mistakes("train.yaml") == ["train.yaml: thirteen brings bad luck"]


def test_a_part_may_check_its_own_arguments(write) -> None:
    class Checked(Named):
        @pydantic.model_validator(mode="after")
        def _known(self) -> "Checked":
            if "momentm" in self.arguments:
                raise ConfigError("momentm is not an argument of SGD: did you mean 'momentum'?")
            return self

    class Owner(Settings):
        optimizer: Checked

    write("optimizer:\n  name: SGD\n\n  momentm: 3\n")
    expected = ["train.yaml:4: optimizer.momentm is not an argument of SGD: did you mean 'momentum'?"]
    assert mistakes("train.yaml", schema=Owner) == expected


def test_other_words_of_owners_are_kept() -> None:
    class Owner(Settings):
        size: Annotated[int, Field(multiple_of=32, le=1024)] = 32
        name: Annotated[str, Field(pattern="^a", max_length=3)] = "a"
        pair: tuple[int, str] = (1, "a")
        some: Annotated[list[int], Field(min_length=1, max_length=3)] = [1]  # noqa: RUF012 - pydantic copies it
        code: int = 1

        @pydantic.field_validator("code")
        @classmethod
        def _code(cls, value: int) -> int:
            raise PydanticCustomError("my_own", "is not what I want")

    values = {"size": 33, "name": "b", "pair": [1], "some": [], "code": 3}
    assert mistakes(values, schema=Owner) == [
        "size should be a whole number of at most 1024, a multiple of 32, is 33",
        "name should be text of at most 3 characters that matches '^a', is 'b'",
        "pair should be a list of 2 values: a whole number, text, is [1]",
        "some should be a list of at least 1 and at most 3 values, each a whole number, is []",
        "code: is not what I want",
    ]


def test_the_page_about_configuration_shows_what_is_printed(write) -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n([^`]*)```\n\nwith `([^`]*)` on the command line gives\n\n```\n(.*?)```", text, re.S)
    assert found
    write(found[1])
    with pytest.raises(ConfigError) as caught:
        load_config("train.yaml", [found[2]], schema=TrainSettings)
    assert str(caught.value).splitlines() == found[3].splitlines()


# ---- saving ---------------------------------------------------------------------------------------------------------

numbers = st.floats(min_value=1e-12, allow_nan=False, allow_infinity=False)
plain_texts = st.text(max_size=8)
arguments = st.dictionaries(
    plain_texts.filter(lambda key: key not in ("name", "lr", "weight_decay")),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), plain_texts),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple)),
        max_leaves=4,
    ),
    max_size=3,
)
names = st.text(min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {"data": plain_texts},
        optional={
            "run": st.none() | plain_texts,
            "image_size": st.integers(8) | st.tuples(st.integers(), st.integers()),
            "workers": st.just("auto") | st.integers(0),
            "mean": st.tuples(numbers, numbers, numbers),
            "optimizer": names | st.builds(lambda more, lr: {"name": "SGD", "lr": lr, **more}, arguments, numbers),
            "scheduler": st.none() | names | arguments.map(lambda more: {**more, "name": "StepLR"}),
            "loss": st.sampled_from(["bce", "cross_entropy"]),
            "augment": st.lists(names | arguments.map(lambda more: {**more, "name": "crop"}), max_size=3),
            "weights": st.dictionaries(plain_texts, numbers, max_size=3),
        },
    )
)
def test_what_is_saved_loads_back_equal(values: dict[str, Any]) -> None:
    config = load_config(values, schema=Train)
    text = config_text(config)
    again = load_config(parse_yaml(text).values, schema=Train)
    assert again == config
    assert config_text(again) == text


def test_the_saved_file_holds_every_setting_and_loads_back_equal(write) -> None:
    write("data: photos\noptimizer: SGD\n")
    config = load_config("train.yaml", ["augment=[flip, {name: crop, scale: (0.2, 1)}]"], schema=Train)
    save_config(config, "saved.yaml")
    saved = load_config("saved.yaml")
    assert list(saved) == list(Train.model_fields)
    assert saved["optimizer"] == {"name": "SGD", "lr": 1e-3, "weight_decay": 0.05}
    assert load_config("saved.yaml", schema=Train) == config


def test_a_part_of_a_more_special_class_is_saved_whole() -> None:
    class Owner(Settings):
        optimizer: Named = Named(name="SGD")

    text = config_text(Owner(optimizer=Optimizer(name="SGD", lr=0.1)))
    assert parse_yaml(text).values == {"optimizer": {"name": "SGD", "lr": 0.1, "weight_decay": 0.05}}


def test_what_cannot_be_saved_is_named() -> None:
    config = load_config({"data": "x", "model": {"name": "r", "width": object()}}, schema=Train)
    with pytest.raises(ConfigError, match=r"^model.width: a value of type object cannot be saved"):
        config_text(config)
