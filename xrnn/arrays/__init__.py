"""Arrays: the backend that new ones come from, the backend that one belongs to, and conversion between them."""
