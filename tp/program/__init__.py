"""Network -> Program: the tensor program, the one intermediate representation."""
