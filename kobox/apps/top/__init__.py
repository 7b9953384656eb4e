"""`kobox top`: the modules of a kernel in a terminal, live.

| file | what it holds |
|---|---|
| `app.py` | the program: the table, the panes, the keys |
| `screens.py` | questions |
| `pane.py` | what is said of one module |
| `changes.py` | load, unload, set, blacklist, each with its undo |
"""
