"""The page in a browser: `syndiff serve`. Everything stays on the machine that serves it."""
