"""The command line of MLBIO."""
