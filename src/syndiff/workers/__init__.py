"""Tasks beside each other: in processes of this machine, or on a Ray cluster. Results and their order are the same."""
