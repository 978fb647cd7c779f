from chainrule import nn

nn.Linear(3, 3).to("i32")
