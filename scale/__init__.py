"""The service on several machines (Ray Serve), and many photographs into Parquet (Ray Data)."""
