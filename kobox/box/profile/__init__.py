"""What modules cost, exactly: `with box.profile("hello.ko") as profile: …`.

| file | what it holds |
|---|---|
| `costs.py` | what was counted: functions, lines, chains of calls |
| `recorder.py` | counts in a box, and makes the costs of it |
| `flame.py` | a flame graph: folded stacks, SVG, speedscope |
| `text.py` | costs, and two of them side by side, as text |
| `growth.py` | how a cost grows with a number |
"""
