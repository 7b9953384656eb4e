"""What `ssh HOST COMMAND` is in the tests: the far machine is a box. Its shell takes each script as it comes.

far_machine.py MODULE.ko... -- HOST COMMAND
"""

from __future__ import annotations

import re
import sys

from kobox.apps.rootfs import shell_box
from kobox.images.store import Store


def main(modules: list[str], command: str) -> None:
    with shell_box(Store().ensure(None)) as box:
        for module in modules:
            box.insmod(module)
        if command != "exec sh":
            print("ssh: only a shell here", file=sys.stderr)
            return
        script = ""
        for line in sys.stdin:
            script += line
            if re.match(r"\} </dev/null 2>&1; printf '\\n[0-9a-f]{24} %d\\n' \$\?\n", line):
                done = box.run(["sh", "-c", script], capture_output=True)
                sys.stdout.buffer.write(done.stdout)
                sys.stdout.buffer.flush()
                script = ""


if __name__ == "__main__":
    between = sys.argv.index("--")
    main(sys.argv[1:between], sys.argv[-1])
