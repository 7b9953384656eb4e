"""A trace in the Chrome trace format, which https://ui.perfetto.dev and chrome://tracing open.

    {"traceEvents": [{"ph": "X", "name": "journal_write", "ts": 1234.5, "dur": 11, "pid": 1, "tid": 53, "args": {…}}]}

Source: "Trace Event Format" of the Chromium project: complete events ("X"), instants ("i"), metadata ("M"). Times are
in microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from kobox.box.trace.call import Call
from kobox.printable import one_line

_PROCESS = 1


def chrome_trace(roots: Sequence[Call], title: str, end: int) -> bytes:
    """The calls as JSON. `end` is when the trace ended, in virtual nanoseconds: calls that did not return last until
    then."""
    threads: dict[str, int] = {}
    events: list[dict[str, object]] = [
        {"ph": "M", "name": "process_name", "pid": _PROCESS, "tid": 0, "args": {"name": title}}
    ]
    for root in roots:
        context = root.context or "kernel"
        if context not in threads:
            threads[context] = len(threads) + 1
            events.append(
                {
                    "ph": "M",
                    "name": "thread_name",
                    "pid": _PROCESS,
                    "tid": threads[context],
                    "args": {"name": context},
                }
            )
        for call in root.walk():
            events.extend(_events(call, threads[context], end))
    return json.dumps({"displayTimeUnit": "ns", "traceEvents": events}, separators=(",", ":")).encode()


def _events(call: Call, thread: int, end: int) -> Iterator[dict[str, object]]:
    last = call.end if call.end is not None else max(end, call.start)
    facts: dict[str, object] = dict(call.arguments)
    if call.said:
        facts["(result)"] = call.said
    if call.place:
        facts["(called at)"] = call.place
    if call.allocated:
        facts["(allocated)"] = call.allocated
    if not call.returned:
        facts["(result)"] = "did not return"
    yield {
        "ph": "X",
        "name": call.name,
        "cat": str(call.kind) + (",error" if call.errno else ""),
        "ts": call.start / 1000,
        "dur": (last - call.start) / 1000,
        "pid": _PROCESS,
        "tid": thread,
        "args": facts,
    }
    for record in call.log:
        yield {
            "ph": "i",
            "s": "t",
            "name": one_line(record.text),
            "cat": "log",
            "ts": call.start / 1000,
            "pid": _PROCESS,
            "tid": thread,
        }
