from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import headrace.drivers
from headrace.drivers import load, names
from headrace.drivers.manifest import lint
from headrace.kernel.errors import HeadraceError, NotFound

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = Path(headrace.drivers.__file__).parent


def test_built_in_drivers_come_through_the_entry_points() -> None:
    assert {"modbus", "host"} <= set(names())
    assert load("modbus").manifest.title.zh == "Modbus"


def test_an_unknown_driver_is_named_with_a_guess() -> None:
    with pytest.raises(NotFound) as caught:
        load("modbuss")
    assert "modbus" in caught.value.text("en") and "modbus" in caught.value.text("zh")
    with pytest.raises(NotFound) as caught:
        load("zzz")
    assert "host" in caught.value.text("en")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (["headrace.drivers.none:DRIVER"], "drivers.broken"),
        (["headrace.drivers.modbus:NONE"], "drivers.broken"),
        (["headrace.drivers:load"], "drivers.no_driver"),
        (["headrace.drivers.host:DRIVER"], "drivers.no_driver"),
        (["a:b", "c:d"], "drivers.twice"),
    ],
)
def test_broken_plugins(monkeypatch: pytest.MonkeyPatch, values: list[str], code: str) -> None:
    points = [metadata.EntryPoint("odd", value, "headrace.drivers") for value in values]

    def entry_points(**_: Any) -> Any:
        return points

    monkeypatch.setattr("headrace.drivers.loader.metadata", SimpleNamespace(entry_points=entry_points))
    with pytest.raises(HeadraceError) as caught:
        load("odd")
    assert caught.value.code == code
    assert "odd" in caught.value.text("zh")


@pytest.mark.parametrize("name", ["modbus", "host"])
def test_driver_folders_are_complete(name: str) -> None:
    assert lint(FOLDERS / name, load(name).manifest, ROOT) == []
