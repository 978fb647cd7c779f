from chainrule import optim

optim.Adam(1e-3, betas=(0.9, 1.0))
