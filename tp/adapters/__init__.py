"""Ways out to other libraries, each an optional extra that is imported only in its module."""
