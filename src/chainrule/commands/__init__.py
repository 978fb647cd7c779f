"""One module for each sub-command of the command line, imported only when that command is asked for.

A module holds two functions (chainrule.cli.CommandModule):

- `add_arguments(parser)` declares the command's own arguments; `--json` and `--traceback` are declared for all.
- `run(arguments) -> int` does the work and returns the exit code. What is for people goes to stdout as text, and with
  `arguments.json` as one JSON value instead; progress goes to stderr.

A new command is one such module and one line in `chainrule.cli.COMMANDS`.
"""
