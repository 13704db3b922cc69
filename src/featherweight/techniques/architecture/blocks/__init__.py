"""One layer or block in the place of several."""
