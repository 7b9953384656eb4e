"""The timeline of a module's life: what happened in it, in order, for people to look at."""

from __future__ import annotations

from typing import NamedTuple

from kobox.checks.runner.session import Check, Examination

_MOST = 400


class TimelineEvent(NamedTuple):
    """Something that happened. `time` is in virtual seconds since the module was loaded; `stage` as in
    findings; `kind`: stage, call (of something that can fail), log, file."""

    time: float
    stage: str
    kind: str
    text: str


class Timeline(Check):
    """Keeps what happens in the first life that an examination sees."""

    name = "timeline"

    def __init__(self) -> None:
        self._events: list[tuple[int, TimelineEvent]] = []  # with the number that the next record of the log will get
        self._examination: Examination | None = None
        self._began = 0.0
        self._first_record = 0
        self._over = False
        self._logged: list[tuple[int, str]] = []

    @property
    def events(self) -> tuple[TimelineEvent, ...]:
        """All events in order, the kernel's messages among them."""
        records = list(self._logged)
        out: list[TimelineEvent] = []
        for seq, event in self._events:
            while records and records[0][0] < seq:
                out.append(TimelineEvent(event.time, event.stage, "log", records.pop(0)[1]))
            out.append(event)
        return tuple(out[:_MOST])

    def note(self, kind: str, text: str) -> None:
        """Something happens now."""
        examination = self._examination
        if examination is None or self._over or len(self._events) >= _MOST:
            return
        event = TimelineEvent(examination.box.time - self._began, str(examination.stage), kind, text)
        self._events.append((examination.box.log.next_seq, event))

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._began = examination.box.time
        self._first_record = examination.box.log.next_seq

    def linked(self, examination: Examination) -> None:
        self.note("stage", "linked; its init function begins")

    def leaving(self, examination: Examination) -> None:
        self.note("stage", "its memory is given back")

    def gone(self, examination: Examination) -> None:
        self.note(
            "stage", "unloaded, and two seconds have passed" if str(examination.stage) == "after" else "init has failed"
        )
        self._end(examination)

    def detach(self, examination: Examination) -> None:
        self.note("stage", "the examination is over")
        self._end(examination)

    def _end(self, examination: Examination) -> None:
        if not self._over:
            self._over = True
            self._logged = [(record.seq, record.text) for record in examination.box.log.since(self._first_record)]
