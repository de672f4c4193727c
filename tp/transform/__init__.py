"""Program → Program: backprop, train, parametrize."""
