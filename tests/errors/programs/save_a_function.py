import chainrule as cr

cr.save(cr.relu, "net.safetensors")
