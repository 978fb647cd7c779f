from chainrule.cli import main

main(["compile", "lenet", "--dim", "B=8"])
