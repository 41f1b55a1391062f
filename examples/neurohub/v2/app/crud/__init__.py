"""Pages of rows, with as many queries as there are kinds of rows in them."""
