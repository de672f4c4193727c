"""How every quantity of a training run scales with the width: exponents, derived from the program alone."""
