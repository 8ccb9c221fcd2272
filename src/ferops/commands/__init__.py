"""What `ferops` commands do, one module a command that is more than a call."""
