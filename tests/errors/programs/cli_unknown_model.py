from chainrule.cli import main

main(["compile", "resnet"])
