"""The command line: one function for each subcommand, and the code that only subcommands use."""
