"""The [edge] section: every fault at its own place, in both languages; large tag tables in little time."""

import time
from pathlib import Path

import pytest

from headrace.edge import explain
from headrace.edge.config import EDGE, policy, resolve, tag_specs
from headrace.edge.report import Policy
from headrace.kernel import config
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import ConfigError
from headrace.kernel.model import Kind

pytestmark = pytest.mark.usefixtures("fake")


def load(tmp_path: Path, text: str):
    file = tmp_path / "headrace.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, [EDGE])[EDGE], file


def faults(tmp_path: Path, text: str) -> list[tuple[str, str, str]]:
    """(file name, key, code) of every Problem; each must render in both languages without open braces."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    for problem in caught.value.problems:
        zh, en = problem.text("zh"), problem.text("en")
        assert problem.code not in en and "{" not in en and "{" not in zh
        assert any("\u4e00" <= c <= "\u9fff" for c in zh)
    return [(p.file.rsplit("/", 1)[-1], p.key, p.code) for p in caught.value.problems]


def conf(tags: str = "", more: str = "", driver: str = "fake", settings: str = "") -> str:
    return f"""
[edge]
{more}
[[edge.connections]]
name = "oven"
driver = "{driver}"
settings = {{ {settings} }}
tags = [{tags}]
"""


GOOD = '{ name = "oven/a", address = 0 }'


@pytest.mark.parametrize(
    ("text", "key", "code"),
    [
        (conf(driver="fakee"), "edge.connections[0].driver", "edge.unknown_driver_near"),
        (conf(driver="xyz"), "edge.connections[0].driver", "edge.unknown_driver"),
        (conf(settings="hots = 1"), "edge.connections[0].settings.hots", "config.unknown_key_near"),
        (conf(settings="port = 70000"), "edge.connections[0].settings.port", "config.out_of_range"),
        (conf('{ name = "oven/a" }'), "edge.connections[0].tags[0].address", "config.missing"),
        (conf('{ address = 1 }'), "edge.connections[0].tags[0].name", "config.missing"),
        (conf(GOOD + ', { name = "b/c", adress = 1, address = 2 }'), "edge.connections[0].tags[1].adress",
         "config.unknown_key_near"),
        (conf('{ name = "oven/a", address = "x" }'), "edge.connections[0].tags[0].address",
         "config.wrong_type"),
        (conf('{ name = "oven/a", address = 1, kind = "f63" }'), "edge.connections[0].tags[0].kind",
         "config.not_one_of"),
        (conf('{ name = "Oven A", address = 1 }'), "edge.connections[0].tags[0].name", "edge.tag_name"),
        (conf('{ name = "oven", address = 1 }'), "edge.connections[0].tags[0].name", "edge.tag_name"),
        (conf(f"{GOOD}, {GOOD}"), "edge.connections[0].tags[1].name", "edge.tag_twice"),
        (conf('{ name = "oven/a", address = -1 }'), "edge.connections[0].tags[0]", "edge.empty_point"),
        (conf('{ name = "oven/a", address = 1, length = 200 }'), "edge.connections[0].tags[0]",
         "edge.point_too_long"),
        (conf('{ name = "oven/a", address = 1, area = "q" }'), "edge.connections[0].tags[0]",
         "edge.unknown_area"),
        (conf('{ name = "oven/a", address = 1, every = "10" }'), "edge.connections[0].tags[0].every",
         "config.not_duration"),
        (conf('{ name = "oven/a", address = 1, every = "2d" }'), "edge.connections[0].tags[0].every",
         "edge.every_range"),
        (conf('{ name = "oven/a", address = 1, low = 5, high = 5 }'), "edge.connections[0].tags[0].high",
         "edge.range_empty"),
        (conf('{ name = "oven/a", address = 1, low = nan }'), "edge.connections[0].tags[0].low",
         "edge.not_finite"),
        (conf('{ name = "oven/a", address = 1, report = { absolute = 1, swing = 1 } }'),
         "edge.connections[0].tags[0].report", "edge.report_conflict"),
        (conf('{ name = "oven/a", address = 1, report = { percent = 1 } }'),
         "edge.connections[0].tags[0].report.percent", "edge.report_no_range"),
        (conf('{ name = "oven/a", address = 1, report = { absolute = -1 } }'),
         "edge.connections[0].tags[0].report.absolute", "config.out_of_range"),
        (conf('{ name = "oven/a", address = 1, kind = "bool", report = { absolute = 1 } }'),
         "edge.connections[0].tags[0].report.absolute", "edge.report_kind"),
        (conf('{ name = "oven/a", address = 1, kind = "i64", report = { swing = 1 } }'),
         "edge.connections[0].tags[0].report.swing", "edge.report_kind"),
        (conf(GOOD + ', { name = "oven/b", address = 1, report = { trigger = "oven/aa" } }'),
         "edge.connections[0].tags[1].report.trigger", "edge.trigger_unknown"),
        (conf(GOOD + ', { name = "oven/b", address = 1, every = "5s", report = { trigger = "oven/a" } }'),
         "edge.connections[0].tags[1].report.trigger", "edge.trigger_interval"),
        (conf(more='linger = "6s"'), "edge.linger", "edge.linger_range"),
        (conf(more='heartbeat = "1ms"'), "edge.heartbeat", "edge.heartbeat_range"),
        (conf(more="buffer = { quota = 1048576 }"), "edge.buffer.segment", "edge.segment_too_big"),
        (conf(more="buffer = { on_full = 'x' }"), "edge.buffer.on_full", "config.not_one_of"),
        (conf() + conf().replace("[edge]", ""), "edge.connections[1].name", "edge.connection_twice"),
        ('[[edge.connections]]\nname = "o"\ndriver = "fake"\ntags_file = "no.csv"',
         "edge.connections[0].tags_file", "edge.tags_no_file"),
    ],
)  # fmt: skip
def test_planted_fault(tmp_path, text, key, code):
    assert faults(tmp_path, text) == [("headrace.toml", key, code)]


def test_all_faults_of_a_table_at_once(tmp_path):
    tags = '{ name = "oven/a", address = "x", length = "y", unit = 5 }, { name = "o", address = 1, bad = 2 }'
    assert {key.removeprefix("edge.connections[0].") for _, key, _ in faults(tmp_path, conf(tags))} == {
        "tags[0].address",
        "tags[0].length",
        "tags[0].unit",
        "tags[1].name",
        "tags[1].bad",
    }


CSV = """name,address,kind,title.zh,title.en,unit,low,high,report.absolute,report.heartbeat,every,writable
oven/zone1/temperature,100,f64,一区温度,Zone 1 temperature,Cel,0,300,0.5,30s,500ms,
# a comment

oven/door,110.0,bool,,,,,,,,,true
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tags_file_as_spreadsheets_write_it(tmp_path, encoding, delimiter):
    (tmp_path / "oven.csv").write_bytes(CSV.replace(",", delimiter).replace("\n", "\r\n").encode(encoding))
    edge, file = load(
        tmp_path, '[[edge.connections]]\nname = "oven"\ndriver = "fake"\ntags_file = "oven.csv"'
    )
    first, second = tag_specs(edge, file)
    assert (first.name, first.kind, first.unit, first.low, first.high) == (
        "oven/zone1/temperature", Kind.F64, "Cel", 0, 300,
    )  # fmt: skip
    assert first.title is not None and first.title.zh == "一区温度" and first.source == "oven"
    assert second.kind is Kind.BOOL and second.writable and second.title is None
    (connection,) = resolve(edge, file)
    assert connection.points[0].every == NS_PER_S // 2 and connection.points[1].every == NS_PER_S
    assert policy(connection.points[0].tag, {}) == Policy(band=0.5, heartbeat=30 * NS_PER_S)


def test_faults_of_a_tags_file_name_the_line(tmp_path):
    (tmp_path / "oven.csv").write_text(
        "name,address,lenght\noven/a,1,\noven/b,x,\n\noven/a,2,\noven/c,3,4\noven/d,1,2,3,4\noven/e,,\n"
    )
    found = faults(tmp_path, '[[edge.connections]]\nname = "o"\ndriver = "fake"\ntags_file = "oven.csv"')
    assert found == [
        ("oven.csv:3", "address", "config.wrong_type"),
        ("oven.csv:5", "name", "edge.tag_twice"),
        ("oven.csv:6", "lenght", "config.unknown_key_near"),
        ("oven.csv:7", "", "edge.tags_row"),
        ("oven.csv:8", "address", "config.missing"),
    ]


def test_tags_file_that_is_no_text(tmp_path):
    (tmp_path / "oven.csv").write_bytes(b"\xff\x00\x81\x81\xff\xff" * 20)
    text = '[[edge.connections]]\nname = "o"\ndriver = "fake"\ntags_file = "oven.csv"'
    assert faults(tmp_path, text) == [
        ("headrace.toml", "edge.connections[0].tags_file", "edge.tags_encoding")
    ]
    (tmp_path / "oven.csv").write_text("name,name\na/b,c/d\n")
    assert faults(tmp_path, text) == [("oven.csv:1", "", "edge.tags_header")]


def test_policies(tmp_path):
    reports = ["percent = 2", "swing = 0.5", 'heartbeat = "5s"', 'trigger = "oven/t"']
    reports.append('absolute = 1, heartbeat = "0s"')
    tags = ", ".join(
        f'{{ name = "oven/p{n}", address = {n}, low = 0, high = 50, report = {{ {r} }} }}'
        for n, r in enumerate(reports)
    )
    edge, file = load(tmp_path, conf(tags + ', { name = "oven/t", address = 20 }'))
    (connection,) = resolve(edge, file)
    minute = 60 * NS_PER_S
    assert [policy(p.tag, {"oven/t": 9}) for p in connection.points] == [
        Policy(band=1.0, heartbeat=minute),
        Policy(swing=0.5, heartbeat=minute),
        Policy(band=0.0, heartbeat=5 * NS_PER_S),
        Policy(trigger=9),
        Policy(band=1.0),
        Policy(),
    ]


def test_plan_report(tmp_path):
    tags = ", ".join(f'{{ name = "oven/t{n}", address = {n * 5} }}' for n in range(1000))
    slow = '{ name = "oven/slow", address = 0, every = "1m" }'
    edge, file = load(tmp_path, conf(f"{tags}, {slow}"))
    (told,) = explain.plan_report(edge, file)
    assert told.name == "oven" and told.driver == "fake" and told.tags == told.one_per_tag == 1001
    assert told.count == len(told.requests) == 41 and told.ratio >= 20
    assert told.requests[0] == explain.Request("r", 0, 122, 25, 72, 1000.0)
    assert told.requests[-1].every_ms == 60_000


def test_fifty_thousand_tags(tmp_path):
    rows = [f"m{n % 50}/t{n},{n * 2},{n},0,100,0.5" for n in range(50_000)]
    (tmp_path / "oven.csv").write_text("name,address,title.zh,low,high,report.absolute\n" + "\n".join(rows))
    text = (tmp_path / "oven.csv").read_text().replace("title.zh", "unit")
    (tmp_path / "oven.csv").write_text(text)
    begun = time.process_time()
    edge, file = load(
        tmp_path, '[[edge.connections]]\nname = "oven"\ndriver = "fake"\ntags_file = "oven.csv"'
    )
    assert len(tag_specs(edge, file)) == 50_000
    assert time.process_time() - begun < 6.0  # two passes, of CPU time: the machine may be busy


def test_a_quote_that_never_closes_is_told_at_its_row(tmp_path):
    (tmp_path / "oven.csv").write_text('name,address\noven/a,1\n"oven/b,' + "x" * 200_000 + "\n")
    text = '[[edge.connections]]\nname = "o"\ndriver = "fake"\ntags_file = "oven.csv"'
    assert faults(tmp_path, text) == [("oven.csv:3", "", "edge.tags_unreadable_row")]
