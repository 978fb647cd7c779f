from chainrule import optim

optim.Adam(-1e-3)
