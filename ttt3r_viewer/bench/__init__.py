"""What a frame costs: the program's own way beside a plain one, on made-up weights and frames."""
