"""Reading and writing media files. Imports neither `amela` nor anything heavy at module level."""
