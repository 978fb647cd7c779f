from chainrule.cli import main

main(["compile", "lenet", "--spec", "f31[N,1,28,28]"])
