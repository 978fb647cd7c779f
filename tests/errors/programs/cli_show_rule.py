from chainrule.cli import main

main(["show", "digits", "--why", "x + x = 2 x"])
