import chainrule as cr

cr.ArrayData(batch_size=8)
