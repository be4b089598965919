"""Many photographs into Parquet, on one machine or many (Ray Data)."""
