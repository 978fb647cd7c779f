from pathlib import Path

from chainrule.cli import main

Path("net.py").write_text("def model(x):\n    return x * 2\n")
main(["compile", "net.py:model"])
