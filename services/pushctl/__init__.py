"""pushctl: the fleet from the command line. One file per group of commands; each is loaded when it is called."""
