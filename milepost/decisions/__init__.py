"""What people decided: written by commands (API, command line, pages), each act with its line in the audit."""
