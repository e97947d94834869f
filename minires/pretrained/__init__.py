"""Published weights: the files they come in, read without the framework that wrote them."""
