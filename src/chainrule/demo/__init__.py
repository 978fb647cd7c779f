"""The demo: a ConvNet for real digits, trained by one compiled step, compared, timed, exported and drawn."""
