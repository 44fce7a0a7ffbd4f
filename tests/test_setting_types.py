"""Every setting of every command refuses values of another type in one line."""

import ast
import importlib
import pathlib
import typing

import pytest
from tolerance import Refused, setting_types

from dsbs_jax import settings
from dsbs_jax.errors import UserError
from dsbs_jax.local.config import TRAIN_SETTINGS

PACKAGE = pathlib.Path(settings.__file__).parent
# Values of every type that gin and JSON have.
VALUES = [None, True, 3, -1, 0.5, float("nan"), "4", "yes", "", [], [1], {}, {"a": 1}]


def settings_classes():
    """Imports the modules that define settings, and returns their classes."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "(Settings)" in path.read_text():
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            if parts[1] != "pods":
                importlib.import_module(".".join(parts))

    def below(cls):
        for one in cls.__subclasses__():
            yield one
            yield from below(one)

    return sorted(
        set(below(settings.Settings)), key=lambda cls: (cls.__name__, cls.__module__)
    )


SETTINGS = [
    pytest.param(info, id=f"{cls.__name__}.{info.field}")
    for cls in settings_classes()
    for info in settings.settings_of(cls)
]


def fits(value, hint):
    """Whether a value has one of the types of a setting, whatever its range."""
    kinds = set(settings.base_types(hint))
    if value is None:
        return type(None) in kinds
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int):
        return bool({int, float} & kinds)
    if isinstance(value, list):
        return bool({list, tuple} & kinds)
    return type(value) in kinds


@pytest.mark.parametrize("info", SETTINGS)
def test_value_of_another_type_is_one_line_that_names_the_setting(info):
    if typing.Any in settings.base_types(info.type):
        pytest.skip("the setting takes any value")
    for value in VALUES:
        try:
            settings.check(info, value)
        except UserError as error:
            assert str(error).startswith(f"{info.macro}")
            assert "\n" not in str(error)
        else:
            assert fits(value, info.type), f"{info.macro} accepts {value!r}"


@pytest.mark.parametrize(("text", "expected"), setting_types.SECTION.rows)
def test_types_of_the_page(text, expected):
    macro, _, literal = text.partition(" = ")
    value = ast.literal_eval(literal)
    every = [info for cls in TRAIN_SETTINGS for info in settings.settings_of(cls)]
    (info,) = [one for one in every if one.macro == macro]
    if not isinstance(expected, Refused):
        assert repr(settings.check(info, value)) == expected
        return
    with pytest.raises(UserError) as error:
        settings.check(info, value)
    assert str(error.value) == expected


def test_there_are_many_settings():
    assert len(SETTINGS) > 100


PATHS = [param for param in SETTINGS if settings.is_path(param.values[0])]


def with_path(info, path):
    """Returns the path, or a dictionary for a setting of several named paths."""
    return path if str in settings.base_types(info.type) else {"name": path}


@pytest.mark.parametrize("info", PATHS)
def test_home_folder_in_every_path(info, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = with_path(info, f"{tmp_path}/a b/ü")
    assert settings.check(info, with_path(info, "~/a b/ü")) == expected


@pytest.mark.parametrize("info", PATHS)
def test_path_objects_in_every_path(info, tmp_path):
    path = tmp_path / "a b"
    expected = with_path(info, str(path))
    assert settings.check(info, with_path(info, path)) == expected


def test_buckets_are_refused_where_only_this_machine_is_possible():
    refused = set()
    for param in PATHS:
        (info,) = param.values
        try:
            settings.check(info, with_path(info, "gs://bucket/a"))
        except UserError as error:
            assert str(error).startswith(f"{info.macro}: gs://bucket/a is an address")
            refused.add(info.macro)
    assert refused == {"MODEL_DIR", "OUTPUT_DIR", "OUTPUT_FILE", "EVAL_OUTPUT_DIR"}
