from chainrule.cli import main

main(["run", "net.onnx"])
