from chainrule import nn

nn.Dropout(1.5)
