"""The same ``/predict`` on several machines: Ray Serve runs ``handler/`` behind the gateway's door."""
