"""Readings of a Program: what one program says when it is run, differentiated, or scaled."""
