import chainrule as cr

cr.load("net.safetensors")
