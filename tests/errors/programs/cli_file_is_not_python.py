from pathlib import Path

from chainrule.cli import main

Path("net.py").write_text("def model(x)\n    return x\n")
main(["compile", "net.py:model", "--spec", "f32[3]"])
