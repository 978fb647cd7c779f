from chainrule.cli import main

main(["export", "digits", "--output", "models/digits.onnx"])
