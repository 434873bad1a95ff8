"""The whole demo as a user starts it, and the scripts in front of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from headrace.demo.plant import Plant
from headrace.kernel.errors import Conflict

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "-m", "headrace.cli", "demo", "--port", "0"]


def processes_of(data: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if str(data) in " ".join(process.info["cmdline"] or []):
            found.append(process.pid)
    return found


@pytest.mark.full
@pytest.mark.timeout(180)
def test_check_passes_and_leaves_no_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--check", "--json", "--data", str(tmp_path)], capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert report["ok"]
    assert [s["id"] for s in report["steps"] if not s["ok"]] == []
    assert report["tags"] >= 300
    assert processes_of(tmp_path) == []


@pytest.mark.full
@pytest.mark.fault
@pytest.mark.timeout(120)
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_ends_no_process_stays(tmp_path: Path, sign: signal.Signals) -> None:
    demo = subprocess.Popen([*DEMO, "--data", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (tmp_path / "run" / "api.json").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert len(processes_of(tmp_path)) >= 4
    demo.send_signal(sign)
    demo.wait(40)
    while processes_of(tmp_path) and time.monotonic() < until + 30:
        time.sleep(0.1)
    assert processes_of(tmp_path) == []
    if sign is not signal.SIGKILL:
        assert demo.returncode == 0


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    first, second = Plant(tmp_path), Plant(tmp_path)
    first.claim()
    with pytest.raises(Conflict) as caught:
        second.claim()
    assert caught.value.code == "demo.in_use"
    assert "--data" in caught.value.text("en") and "--data" in caught.value.text("zh")
    first.stop()
    second.claim()
    second.stop()


@pytest.mark.parametrize(
    ("lang", "said"), [("zh_CN.UTF-8", "需要 Python 3.11"), ("C", "Python 3.11 or newer is needed")]
)
def test_setup_says_what_is_wrong_with_python(tmp_path: Path, lang: str, said: str) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "console-ui").mkdir()
    for name in ("scripts/setup", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    environ = {**os.environ, "HEADRACE_PYTHON": "/bin/false", "HEADRACE_LANG": lang}
    done = subprocess.run(
        [str(tmp_path / "scripts" / "setup")], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / ".venv").exists()
