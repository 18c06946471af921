"""The command line: one thin function for each subcommand, and what only commands need."""
