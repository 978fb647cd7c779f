import chainrule as cr


def model(image):
    return cr.interpolate(image, size=(4, 4), scale_factor=2)


cr.compile(model, cr.spec("N", 1, 8, 8))
