from chainrule.cli import main

main(["bench", "net.onnx"])
