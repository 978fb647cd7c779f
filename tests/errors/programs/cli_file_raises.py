from pathlib import Path

from chainrule.cli import main

Path("net.py").write_text("import chainrule as cr\n\n\ndef model(x):\n    return x @ x\n")
main(["compile", "net.py:model", "--spec", "f32[3,4]"])
