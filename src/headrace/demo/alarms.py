"""The workshop's alarms, in the expression language. Limits are the process windows that `physics` cites."""

from __future__ import annotations

from typing import Literal

import msgspec

from headrace.kernel.messages import Text


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[alarms]]` entry; durations as the file writes them."""

    id: str
    when: str
    title: Text
    priority: Literal["urgent", "high", "medium", "low"]
    hysteresis: float = 0.0
    delay_on: str = "0s"
    delay_off: str = "0s"


def _alarm(id_: str, priority: Literal["urgent", "high", "medium", "low"], zh: str, en: str, when: str,
           *, hysteresis: float = 0.0, on: str = "0s", off: str = "0s") -> Alarm:  # fmt: skip
    return Alarm(id=id_, when=when, title=Text(zh=zh, en=en), priority=priority, hysteresis=hysteresis,
                 delay_on=on, delay_off=off)  # fmt: skip


_BURNERS = (
    ("flash", "烘干段", "Drying"),
    *((f"zone{n}", f"固化{'一二三四'[n - 1]}区", f"Zone {n}") for n in range(1, 5)),
)
_ZONES = tuple(f"oven/zone{n}" for n in range(1, 5))
_LINKS = (
    ("blast", "抛丸机", "Shot blaster", "blast/dust/pressure"),
    ("pretreatment", "前处理", "Pretreatment", "pretreatment/degrease1/temperature"),
    ("ecoat", "电泳槽", "Electro-coat", "ecoat/bath/temperature"),
    ("powder", "喷粉房", "Powder booth", "powder/booth/velocity"),
    ("oven", "固化炉", "Curing oven", "oven/zone1/temperature"),
    ("utilities", "公用工程", "Utilities", "utilities/electricity/power"),
)

ALARMS: tuple[Alarm, ...] = (
    *(
        _alarm(f"oven-{zone}-lockout", "high", f"{zh}燃烧器锁定", f"{en}: burner locked out",
               f"oven/{zone}/lockout")
        for zone, zh, en in _BURNERS
    ),
    _alarm("oven-too-cold", "medium", "固化炉区温偏低", "Oven zone below its set-point",
           " || ".join(f"{z}/setpoint - {z}/temperature > 12[K]" for z in _ZONES), on="20s", off="10s"),
    _alarm("oven-sensor-break", "high", "固化炉热电偶断线", "Oven thermocouple broken",
           " || ".join(f"{z}/temperature > 300" for z in _ZONES), on="2s"),
    _alarm("oven-vapour", "urgent", "炉内可燃气浓度高", "Combustible vapour in the oven",
           "oven/chamber/vapour > 25",
           hysteresis=3.0),
    _alarm("oven-under-cured", "high", "上一件固化不足", "Last part is under-cured",
           "oven/cure/index < 1 && oven/cure/peak > 0"),
    _alarm("bath-too-warm", "high", "电泳槽液温度高", "Bath too warm", "ecoat/bath/temperature > 31",
           hysteresis=0.3, on="10s"),
    _alarm("bath-too-cold", "medium", "电泳槽液温度低", "Bath too cold", "ecoat/bath/temperature < 28",
           hysteresis=0.3, on="10s"),
    _alarm("bath-ph", "high", "电泳槽液 pH 超限", "Bath pH out of window",
           "ecoat/bath/ph < 5.7 || ecoat/bath/ph > 6.3", on="10s", off="10s"),
    _alarm("bath-solids", "medium", "固体份低", "Bath solids low", "ecoat/bath/solids < 16", hysteresis=0.2),
    _alarm("bath-probe-break", "medium", "二号温度探头断线", "Second bath probe broken",
           "!(ecoat/bath/probe2 > -50)", on="2s"),
    _alarm("uf-flux-low", "medium", "超滤透过量低", "Ultrafilter flux low", "ecoat/uf/flux < 350",
           hysteresis=20.0, on="10s"),
    _alarm("anolyte-conductivity", "low", "阳极液电导率高", "Anolyte conductivity high",
           "ecoat/anolyte/conductivity > 1300", hysteresis=50.0),
    _alarm("dust-filter-clogged", "medium", "除尘滤袋堵塞", "Dust filter clogged",
           "blast/dust/pressure > 1800",
           hysteresis=200.0, on="5s", off="5s"),
    _alarm("powder-gun-fault", "medium", "喷枪故障", "Powder gun fault",
           " || ".join(f"powder/gun{n}/fault" for n in range(1, 9))),
    _alarm("booth-velocity-low", "high", "喷房风速低", "Booth air velocity low",
           "powder/booth/velocity < 0.35",
           hysteresis=0.03, on="10s"),
    _alarm("degrease-temperature", "medium", "脱脂温度超限", "Degreasing temperature out of window",
           "pretreatment/degrease2/temperature < 48 || pretreatment/degrease2/temperature > 62", on="10s",
           off="5s"),
    _alarm("conveyor-trip", "urgent", "输送线过载跳闸", "Conveyor overload trip", "conveyor/drive/tripped"),
    _alarm("chiller-stopped", "high", "冷水机停机", "Chiller stopped", "!utilities/chiller/running"),
    _alarm("chilled-water-warm", "medium", "冷冻水温度高", "Chilled water too warm",
           "utilities/chiller/supply > 14",
           hysteresis=1.0, on="10s"),
    _alarm("chilled-water-probe", "low", "冷冻水温度探头断线", "Chilled water probe broken",
           "!(utilities/chiller/supply > -50)", on="2s"),
    _alarm("air-pressure-low", "high", "压缩空气压力低", "Compressed air pressure low",
           "utilities/air/pressure < 6",
           hysteresis=0.2, on="3s"),
    *(
        _alarm(f"{device}-no-answer", "medium", f"{zh}控制器无应答", f"{en} controller does not answer",
               f"bad({tag})",
               on="3s")
        for device, zh, en, tag in _LINKS
    ),
    _alarm("computer-memory", "low", "本机内存紧张", "This computer is short of memory",
           "host/memory/used > 95",
           hysteresis=2.0, on="10s"),
    _alarm("computer-disk", "medium", "本机磁盘将满", "This computer's disk is nearly full",
           "host/disk/used > 92",
           hysteresis=1.0, on="10s"),
)  # fmt: skip
