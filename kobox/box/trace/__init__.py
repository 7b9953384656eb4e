"""What a module does, as a tree of calls: `box.trace("hello.ko")`.

| file | what it holds |
|---|---|
| `call.py` | one call: arguments, result, times, what it allocated and logged |
| `functions.py` | what is known of a function by its address: name, module, prototype |
| `values.py` | values as text, by their type |
| `syscall_names.py` | system calls by number, with their arguments' names and types |
| `recorder.py` | watches the box and makes the tree |
| `trace.py` | the whole tree, and questions that are asked of it |
| `text.py`, `plain.py`, `perfetto.py`, `page.py` | the tree as text, plain data, a Chrome trace, an HTML page |
"""
