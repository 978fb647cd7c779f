import chainrule as cr

cr.ArrayData([[1, 2], [3, 4]], [0, 1])
