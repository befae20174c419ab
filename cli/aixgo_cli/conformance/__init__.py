"""Does a runtime honour the runtime contract? What can be seen of it from outside, as checks."""
