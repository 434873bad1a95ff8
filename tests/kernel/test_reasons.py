"""Reasons within errors: both languages wherever the error is told, also after a trip over the bus."""

import errno
import json
import socket
from pathlib import Path

import msgspec
import pytest

from headrace.kernel import config
from headrace.kernel.errors import ConfigError, DeviceUnavailable, Problem
from headrace.kernel.messages import Text, both, os_reason, render


def test_a_reason_follows_the_language_of_its_error() -> None:
    error = DeviceUnavailable("modbus.connection_lost", endpoint="plc:502", reason=both("modbus.lost_there"))
    assert error.text("en") == "the connection to plc:502 was lost: closed by the device"
    assert error.text("zh") == "与 plc:502 的连接已断开：由设备关闭"
    sent = json.loads(msgspec.json.encode(error.params))
    assert render(error.code, "zh", **sent) == error.text("zh")


@pytest.mark.parametrize(
    ("error", "zh"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "对方拒绝连接"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "查不到该主机名"),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), "这是文件夹"),
    ],
)
def test_what_the_operating_system_says_has_both_languages(error: OSError, zh: str) -> None:
    assert os_reason(error).zh == zh and os_reason(error).en.isascii()


def test_what_the_table_lacks_is_told_in_the_systems_words() -> None:
    assert os_reason(OSError(errno.EXDEV, "Invalid cross-device link")) == Text(
        "Invalid cross-device link", "Invalid cross-device link"
    )


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_bytes(b"\xef\xbb\xbf[room]\r\n")
    assert config.load(file, [config.Section("room", dict)]).file == file


def test_the_summary_names_the_configuration_and_not_a_table_it_refers_to() -> None:
    error = ConfigError([Problem("tags.csv:3", "name", "config.missing")] * 2, file="headrace.toml")
    assert error.params == {"count": 2, "file": "headrace.toml"}
