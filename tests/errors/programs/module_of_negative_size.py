from chainrule import nn

nn.Linear(-3, 4)
