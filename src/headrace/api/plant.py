"""Machines and tags as the API shows them: the live table, the alarms and the catalogue put together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headrace.api.alarms import AlarmBoard
from headrace.api.gateway import GatewayBoard
from headrace.api.live import LiveValues
from headrace.api.views import Limit, MachineDetail, MachineState, MachineView, Summary, TagView
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, Clock, iso
from headrace.kernel.messages import Text
from headrace.kernel.model import Tag
from headrace.rules import Priority
from headrace.twin import Machine, part_of

BAD_SHARE = 0.1
"""A machine is `bad` from this share of bad tags on."""

OLDEST_S = 300.0
"""A machine whose newest value is older than this is `stale`, whatever its edge says: reports on change come
with a heartbeat, a minute by default."""


class Plant:
    """Reads the boards; changes nothing but the table's stale marks."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        live: LiveValues,
        alarms: AlarmBoard,
        gateway: GatewayBoard,
        limits: Mapping[str, list[Limit]],
        clock: Clock,
    ) -> None:
        self.machines = machines
        self._live = live
        self._alarms = alarms
        self._gateway = gateway
        self._limits = limits
        self._clock = clock
        sources = sorted({tag.source for tag in live.tags})
        index = {source: i for i, source in enumerate(sources)}
        self._sources = sources
        self._source_of = np.array([index[tag.source] for tag in live.tags], np.int64)

    def mark_stale(self) -> None:
        """Tags of an edge that is silent are stale, and so are tags that no edge delivers any more."""
        served = self._gateway.connections()
        silent = {edge: self._gateway.silent(edge) for edge in self._gateway.edges}
        every = bool(silent) and all(silent.values())
        by_source = np.array(
            [silent[served[source][0]] if source in served else every for source in self._sources], np.bool_
        )
        stale = by_source[self._source_of] if len(by_source) else np.zeros(0, np.bool_)
        self._live.mark_stale(stale | ~self._live.active)

    def tag(self, tag: Tag) -> TagView:
        """`tag` with its newest value; a tag the table does not have yet has none."""
        row = self._live.by_name.get(tag.name)
        time = int(self._live.times[row]) if row is not None else 0
        return TagView(
            name=tag.name,
            id=tag.id,
            kind=tag.kind,
            title=tag.title,
            unit=tag.unit,
            machine=tag.machine,
            source=tag.source,
            writable=tag.writable,
            low=tag.low,
            high=tag.high,
            value=self._live.value(row) if row is not None else None,
            quality=self._live.quality(row) if row is not None else 0x8032,
            time=iso(time) if time else None,
            active=bool(self._live.active[row]) if row is not None else False,
            limits=self._limits.get(tag.name, []),
        )

    def machine(self, id_: str) -> MachineView | None:
        """None where there is no such machine."""
        machine = self.machines.get(id_)
        if machine is None:
            return None
        rows = self._live.rows(id_)
        rows = rows[self._live.active[rows]]
        newest = int(self._live.times[rows].max(initial=0))
        bad = int(np.count_nonzero(self._live.qualities()[rows] >= 0x8000))
        active, worst = self._alarms.of_machine(id_)
        return MachineView(
            id=id_,
            title=machine.title or Text(zh=id_, en=id_),
            kind=machine.kind,
            order=machine.order,
            beside=machine.beside,
            state=self._state(rows, bad, newest, worst if active else None),
            tags=len(rows),
            bad=bad,
            alarms=active,
            worst_priority=worst,
            updated=iso(newest) if newest else None,
        )

    def _state(
        self, rows: np.ndarray[tuple[int], np.dtype[np.int64]], bad: int, newest: int, worst: Priority | None
    ) -> MachineState:
        if worst is not None:
            return "alarm"
        if len(rows) == 0:
            return "ok"
        old = self._clock.now() - newest > OLDEST_S * NS_PER_S
        if old or bool(self._live.stale[rows].all()):
            return "stale"
        return "bad" if bad >= max(1, BAD_SHARE * len(rows)) else "ok"

    def machine_list(self) -> list[MachineView]:
        """In the order of the line."""
        return [view for id_ in self.machines if (view := self.machine(id_)) is not None]

    def machine_detail(self, id_: str) -> MachineDetail | None:
        view = self.machine(id_)
        if view is None:
            return None
        parts = self.machines[id_].parts
        place = {part: at for at, part in enumerate(parts)}
        rows = self._live.rows(id_)
        tags = [self.tag(self._live.tags[row]) for row in rows[self._live.active[rows]].tolist()]
        tags.sort(key=lambda tag: place.get(part_of(tag.name), len(place)))
        return MachineDetail(
            id=view.id,
            title=view.title,
            kind=view.kind,
            order=view.order,
            beside=view.beside,
            state=view.state,
            parts=parts,
            tags=tags,
            bad=view.bad,
            alarms=view.alarms,
            worst_priority=view.worst_priority,
            updated=view.updated,
        )

    def summary(self) -> Summary:
        """The plant in a few figures."""
        now = self._clock.now()
        rows = np.flatnonzero(self._live.active)
        quality = self._live.qualities()[rows]
        stale = self._live.stale[rows] & (quality < 0x8000)
        usable = (quality < 0x8000) & ~stale
        times = self._live.times[rows][quality < 0x8000]
        states: dict[str, int] = dict.fromkeys(("ok", "stale", "bad", "alarm"), 0)
        for machine in self.machine_list():
            states[machine.state] += 1
        return Summary(
            time=iso(now),
            machines=states,
            tags=len(rows),
            good=int(np.count_nonzero(quality < 0x4000)),
            uncertain=int(np.count_nonzero((quality >= 0x4000) & usable)),
            bad=int(np.count_nonzero(quality >= 0x8000)),
            stale=int(np.count_nonzero(stale)),
            completeness=float(np.count_nonzero(usable)) / len(rows) if len(rows) else None,
            oldest_ms=(now - int(times.min())) / NS_PER_MS if len(times) else None,
            values_per_s=self._gateway.values_per_s(),
            alarms=self._alarms.counts(),
        )
