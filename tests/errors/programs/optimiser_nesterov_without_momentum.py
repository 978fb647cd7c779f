from chainrule import optim

optim.SGD(0.1, nesterov=True)
