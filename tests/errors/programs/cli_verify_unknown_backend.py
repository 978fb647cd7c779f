from chainrule.cli import main

main(["verify", "net.onnx"])
