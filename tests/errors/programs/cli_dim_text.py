from chainrule.cli import main

main(["compile", "lenet", "--dim", "N:8"])
