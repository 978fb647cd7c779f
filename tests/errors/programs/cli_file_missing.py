from chainrule.cli import main

main(["compile", "net.py:Net", "--spec", "f32[3]"])
