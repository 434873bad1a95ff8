"""The fake driver, installed where the edge looks for drivers."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import fake_device

from headrace import drivers


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_device.Device]:
    """The device "one", which connections with driver = "fake" reach by default."""
    monkeypatch.setattr(drivers, "names", lambda: ["fake", "modbus"], raising=False)
    monkeypatch.setattr(drivers, "load", lambda name: fake_device.FakeType(), raising=False)
    fake_device.DEVICES.clear()
    yield fake_device.device()
    fake_device.DEVICES.clear()
