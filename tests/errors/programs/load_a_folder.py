import os

import chainrule as cr

os.mkdir("net.safetensors")
cr.load("net.safetensors")
